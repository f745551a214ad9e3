"""One push to one device, accepted once, as a run leaves it: what the tests of the judge spoil in one way each."""

from tests.chaos.history import Changed, History, Played, Sent
from tests.chaos.judgement import judge_run
from tests.chaos.kept import Life
from tests.chaos.population import Device
from tests.chaos.pushing import Push
from tests.chaos.record import Attempt, Claim, DeviceRecord, PushRecord, Record
from tests.chaos.script import Script
from tests.chaos.side import Arrival
from tests.chaos.world import World

_PUSH_ID = "0199aaaa-0000-7000-8000-000000000001"


class Case:
    """One push to one device, accepted once: what every test here spoils in one way."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.device = device = Device("d1", "apns", "ann", ["news"], ["aa" * 32])
        push = Push(0.0, "p1", "devices", ["d1"], "", False, None, None, None)
        self.script = Script(1.0, "postgres", {"d1": device}, [], [], [push], [], [])
        self.sent = Sent(push, started_at=100.0, answered_at=100.1)
        self.history = History(changes={"d1": [Changed("register", 1.0, 2.0, "aa" * 32)]}, pushes={"p1": self.sent})
        self.push = PushRecord(
            _PUSH_ID,
            "p1",
            "done",
            100.05,
            100.05,
            100.05,
            100.3,
            planned=1,
            settled=1,
            ledger={"planned": 1, "accepted": 1},
        )
        self.attempt = Attempt(_PUSH_ID, 5, "apns", "chaos-apns", 1, 100.3, ["d1"], {})
        self.record = Record(
            pushes={"p1": self.push},
            attempts=[self.attempt],
            claims=[Claim(5, 1, "tocsin sender 1-1", 100.1)],
            arrivals=[self.arrival(1, 100.2)],
            devices={"d1": DeviceRecord("d1", "active", "", "aa" * 32, "")},
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

    def unknown(self) -> None:
        """Nobody heard of its arrival, so it is sent again from a batch of its own."""
        self.attempt.ends[0] = ("retry", "ConnectionLost")
        self.record.attempts.append(Attempt(_PUSH_ID, 6, "apns", "chaos-apns", 2, 101.3, ["d1"], {}))
        self.record.claims.append(Claim(6, 2, "tocsin sender 1-1", 101.1))
        arrival = self.arrival(2, 101.2)
        arrival.message_id = f"{_PUSH_ID[:24]}{(6 * 64 + 2) * 65536:012x}"
        self.record.arrivals.append(arrival)

    def died(self) -> None:
        """The token had died before the push, and the device with the answer to it."""
        self.history.changes["d1"].append(Changed("die", 50.0, 50.1, "aa" * 32, "after"))
        self.attempt.ends[0] = ("dead", "Unregistered")
        self.push.ledger = {"planned": 1, "failed": 1}
        self.record.arrivals.clear()
        self.record.devices["d1"].state = "dead"

    def rename(self, token: str) -> None:
        """The device has had this token all the time."""
        self.device.tokens = [token]
        self.history.changes["d1"][0].token = token
        self.record.devices["d1"].token = self.record.arrivals[0].token = token

    def at(self, provider: str, token: str) -> None:
        """It is a device of another provider."""
        self.rename(token)
        self.device.provider = self.attempt.provider = provider
        for arrival in self.record.arrivals:
            arrival.provider = provider

    def many(self, count: int) -> None:
        """The push is for so many raw tokens instead, all in one batch."""
        tokens = [f"{n:064x}" for n in range(count)]
        self.sent.push.kind, self.sent.push.recipients = "raw", tokens
        self.attempt.recipients = tokens
        self.push.planned = self.push.settled = count
        self.push.ledger = {"planned": count, "accepted": count}
        first = self.arrival(1, 100.2)
        number = int(first.message_id[-12:], 16)
        ids = [f"{_PUSH_ID[:24]}{number + n:012x}" for n in range(count)]
        pairs = zip(tokens, ids, strict=True)
        self.record.arrivals = [Arrival(100.2, "apns", "p1", token, each, told=True) for token, each in pairs]

    def at_hms_without_an_answer(self) -> None:
        """A storm took the answer to the request that had all of them; they are sent to again, one batch for all."""
        self.attempt.provider = self.sent.push.provider = "hms"
        again = Attempt(_PUSH_ID, 6, "hms", "chaos-hms", 2, 101.3, self.attempt.recipients, {})
        self.attempt.ends = dict.fromkeys(range(len(again.recipients)), ("retry", "ConnectionLost"))
        self.record.attempts.append(again)
        self.record.claims.append(Claim(6, 2, "tocsin sender 1-1", 101.1))
        both = [(at, token) for at in (100.2, 101.2) for token in again.recipients]
        self.record.arrivals = [Arrival(at, "hms", "p1", token, "", told=at > 101) for at, token in both]
        self.history.storms.append(Played("dropped after the body", "hms", True, 100.0, 100.5))

    def another_push(self, at: float) -> None:
        """Another push of the same limit, to the same device."""
        other = f"{_PUSH_ID[:-1]}2"
        push = Push(0.0, "p2", "devices", ["d1"], "", False, None, None, None, limit=self.sent.push.limit)
        self.history.pushes["p2"] = Sent(push, started_at=at, answered_at=at)
        ledger = {"planned": 1, "accepted": 1}
        self.record.pushes["p2"] = PushRecord(other, "p2", "done", at, at, at, at + 0.3, 1, 1, ledger)
        self.record.attempts.append(Attempt(other, 7, "apns", "chaos-apns", 1, at + 0.3, ["d1"], {}))
        self.record.claims.append(Claim(7, 1, "tocsin sender 1-1", at))
        message_id = f"{other[:24]}{(7 * 64 + 1) * 65536:012x}"
        self.record.arrivals.append(Arrival(at + 0.1, "apns", "p2", "aa" * 32, message_id, told=True))
