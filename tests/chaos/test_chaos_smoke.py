"""A short chaos run: a few kills, some storms, every sort of push."""

from pathlib import Path

from tests.chaos.population import PROVIDERS
from tests.chaos.report import append
from tests.chaos.run import Order, run
from tests.chaos.script import REDIS, SWITCH, Size, write_script

_SMALL = Size(devices=60, users=20, push_seconds=0.15, change_seconds=0.3, storm_seconds=1.5, slow_storms=False)


async def test_a_few_kills_of_redis_and_others_lose_nothing_and_double_nothing_unexplained(tmp_path: Path) -> None:
    order = Order(seed=11, kills=5, seconds=4.0, drain_seconds=60.0, size=_SMALL, keep=False, queue="both")
    outcome = await run(order)
    assert outcome.verdict.findings == []
    assert outcome.drained
    assert outcome.kills["redis"] > 0
    assert outcome.verdict.arrived_at.keys() == PROVIDERS.keys()
    append(tmp_path / "chaos.md", outcome, "2026-11-22")
    assert (tmp_path / "chaos.md").read_text().count("\n| 2026-11-22 | both | 11 |") == 1


def test_the_same_seed_is_the_same_script() -> None:
    assert write_script(7, 20, 30.0, Size(), "redis") == write_script(7, 20, 30.0, Size(), "redis")
    assert write_script(7, 20, 30.0, Size()) != write_script(8, 20, 30.0, Size())


def test_the_queue_changes_nothing_but_what_happens_to_redis() -> None:
    plain, redis = write_script(7, 20, 30.0, Size()), write_script(7, 20, 30.0, Size(), "redis")
    assert redis.pushes == plain.pushes
    assert [each for each in redis.kills if each.kind not in {*REDIS, SWITCH}] == plain.kills
