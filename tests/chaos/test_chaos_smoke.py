"""A short chaos run, and that the judge of the long ones sees what it is there to see."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.acting import Changed, History, Sent
from tests.chaos.judgement import judge_run
from tests.chaos.kept import Life
from tests.chaos.record import Attempt, Claim, PushRecord, Record
from tests.chaos.report import append
from tests.chaos.run import Order, run
from tests.chaos.script import Device, Push, Script, Size, write_script
from tests.chaos.side import Arrival
from tests.chaos.world import World

_PUSH_ID = "0199aaaa-0000-7000-8000-000000000001"
_SMALL = Size(devices=60, users=20, push_seconds=0.15, change_seconds=0.3, storm_seconds=1.5, slow_storms=False)


async def test_a_few_kills_lose_nothing_and_double_nothing_unexplained(tmp_path: Path) -> None:
    outcome = await run(Order(seed=11, kills=5, seconds=5.0, drain_seconds=60.0, size=_SMALL, keep=False))
    assert outcome.verdict.findings == []
    assert outcome.drained
    assert outcome.verdict.arrivals > 0
    append(tmp_path / "chaos.md", outcome, "2026-11-22")
    assert (tmp_path / "chaos.md").read_text().count("\n| 2026-11-22 | 11 |") == 1


def test_the_same_seed_is_the_same_script() -> None:
    assert write_script(7, 20, 30.0, Size()) == write_script(7, 20, 30.0, Size())
    assert write_script(7, 20, 30.0, Size()) != write_script(8, 20, 30.0, Size())


class _Case:
    """One push to one device, accepted once: what every test here spoils in one way."""

    def __init__(self, world: World) -> None:
        self.world = world
        device = Device("d1", "apns", "ann", ["news"], ["aa" * 32])
        push = Push(0.0, "p1", "devices", ["d1"], "", False, None, None, None)
        self.script = Script(1.0, {"d1": device}, [], [], [push], [], [])
        self.sent = Sent(push, started_at=100.0, answered_at=100.1)
        self.history = History(changes={"d1": [Changed("register", 1.0, 2.0)]}, pushes={"p1": self.sent})
        self.push = PushRecord(
            _PUSH_ID, "p1", "done", 100.05, 100.05, 100.05, planned=1, settled=1, ledger={"planned": 1, "accepted": 1}
        )
        self.attempt = Attempt(_PUSH_ID, 5, "apns", 1, 100.3, ["d1"], {})
        self.record = Record(
            pushes={"p1": self.push},
            attempts=[self.attempt],
            claims=[Claim(5, 1, "tocsin sender 1-1", 100.1)],
            arrivals=[self.arrival(1, 100.2)],
            waiting_batches=0,
        )
        world.lives.append(Life("sender 1-1", 50.0))

    def arrival(self, attempt: int, at: float) -> Arrival:
        message_id = f"{_PUSH_ID[:24]}{(5 * 64 + attempt) * 65536:012x}"
        return Arrival(at, "apns", "p1", "aa" * 32, message_id, told=True)

    def findings(self) -> list[str]:
        return [each.kind for each in judge_run(self.script, self.world, self.history, self.record).findings]

    def second_attempt(self) -> None:
        """The batch is claimed again after its first claim was abandoned, and arrives a second time."""
        self.attempt.attempt = 2
        self.record.claims.append(Claim(5, 2, "tocsin sender 2-2", 106.0))
        self.record.arrivals.append(self.arrival(2, 106.1))


@pytest.fixture
def case(tmp_path: Path) -> Iterator[_Case]:
    world = World(tmp_path)
    yield _Case(world)
    world.close()


def test_one_arrival_of_an_accepted_push_is_in_order(case: _Case) -> None:
    assert case.findings() == []


def test_an_accepted_recipient_without_an_arrival_is_lost(case: _Case) -> None:
    case.record.arrivals.clear()
    assert case.findings() == ["lost"]


def test_a_device_that_stayed_and_is_in_no_batch_is_lost(case: _Case) -> None:
    case.record.arrivals.clear()
    case.record.attempts.clear()
    case.record.claims.clear()
    case.push.planned = case.push.settled = 0
    case.push.ledger = {}
    assert case.findings() == ["lost"]


def test_an_accepted_push_that_is_not_stored_is_lost(case: _Case) -> None:
    case.record.pushes.clear()
    assert "lost" in case.findings()


def test_a_ledger_that_does_not_sum_is_found(case: _Case) -> None:
    case.push.ledger["planned"] = 2
    assert case.findings() == ["unsettled"]


def test_a_second_arrival_of_a_living_sender_is_unexplained(case: _Case) -> None:
    case.second_attempt()
    assert "unexplained" in case.findings()


def test_a_second_arrival_after_the_first_sender_was_killed_is_explained(case: _Case) -> None:
    case.second_attempt()
    case.world.lives[0].killed = True
    case.world.lives[0].ended_at = 100.4
    assert case.findings() == []


def test_a_second_arrival_under_at_most_once_is_never_explained(case: _Case) -> None:
    case.second_attempt()
    case.world.lives[0].killed = True
    case.world.lives[0].ended_at = 100.4
    case.sent.push.at_most_once = True
    assert case.findings() == ["unexplained"]


def test_an_arrival_that_is_recorded_as_refused_is_unexplained(case: _Case) -> None:
    case.attempt.ends[0] = ("retry", "ServiceUnavailable")
    assert "unexplained" in case.findings()


def test_an_arrival_after_the_expiry_is_late(case: _Case) -> None:
    case.sent.expire_at = 99
    assert case.findings() == ["late"]


def test_an_arrival_long_after_a_confirmed_cancel_is_late(case: _Case) -> None:
    case.sent.cancelled_at = 90.0
    assert case.findings() == ["late"]


def test_a_device_that_left_before_the_push_must_not_get_it(case: _Case) -> None:
    case.history.changes["d1"].append(Changed("remove", 50.0, 51.0))
    assert case.findings() == ["unexplained"]
