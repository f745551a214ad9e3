"""push_explain against the ledger: whatever happens to some pushes and devices, both tell the same."""

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from delivery.outcomes import Kind, Outcome
from delivery.queues.contract import Claim
from delivery.queues.postgres import PostgresQueue
from methods.context import Context
from methods.pushes import push_status
from methods.stopping import PushUidParams
from storage import pushes
from storage.database import Database
from tests.methods.explaining import ROOM, a_worker, add_credentials, add_device, explainer, finished, push_to

_OUTCOMES: tuple[Outcome | None, ...] = (
    None,  # accepted
    None,
    None,
    Outcome(Kind.FAILED, "PayloadTooLarge", 413),
    Outcome(Kind.RETRY, "ServiceUnavailable", 503, retry_after_seconds=0.0),
    Outcome(Kind.RETRY, "TooManyRequests", 429, retry_after_seconds=0.0),
    Outcome(Kind.UNKNOWN, "Timeout", backoff_base_seconds=0.0),
    Outcome(Kind.RELEASED, "Released"),
    Outcome(Kind.HELD, "RateLimited", due_at=0.0),
    Outcome(Kind.DROPPED, "RateLimited"),
    Outcome(Kind.EXPIRED, "Expired"),
    Outcome(Kind.DEAD, "Unregistered", 410, proof_at=1.0),
    Outcome(Kind.DEAD, "Unregistered", 410, proof_at=4e9),
    Outcome(Kind.DEAD, "BadDeviceToken", 400, proof_at=4e9),
)


class History:
    """Some devices and pushes, and what a Random does to them; `final` is what was reported of whom for good."""

    def __init__(self, database: Database, random: Random) -> None:
        self._database = database
        self._random = random
        self._worker = a_worker(database)
        self._held: list[Claim] = []
        self.devices: list[str] = []
        self.pushes: dict[str, list[str]] = {}  # uid → the devices that were active
        self.ids: dict[str, str] = {}
        self.final: dict[tuple[str, str], str] = {}
        self.removed: set[str] = set()
        self.cancelled: set[str] = set()

    async def begin(self) -> None:
        self.devices = [await add_device(self._database) for _ in range(self._random.randint(1, 6))]

    async def step(self) -> None:
        """Do one thing."""
        steps = (self.accept, self.claim, self.claim, self.settle, self.settle, self.settle, self.lose)
        rare = (self.register, self.remove, self.cancel, self.pause, self.resume)
        await self._random.choice(rare if self._random.random() < 0.25 else steps)()

    async def accept(self) -> None:
        if len(self.pushes) == 4:
            return
        chosen = self._random.sample(self.devices, self._random.randint(1, len(self.devices)))
        rows = await self._database.values(b"select id::text from devices where state = 'active'", {})
        delivery = self._random.choice(["at_least_once", "at_most_once"])
        uid = await push_to(self._database, *chosen, batch_size=self._random.randint(1, 3), delivery=delivery)
        self.pushes[uid] = [device for device in chosen if (device,) in set(rows)]
        known = await pushes.by_uid(self._database, uid)
        assert known is not None
        self.ids[known.id] = uid

    async def claim(self) -> None:
        self._held += await self._worker.claim(ROOM, [])

    async def lose(self) -> None:
        """A sender that dies with what it has claimed."""
        dying: PostgresQueue = a_worker(self._database, lease_seconds=0.0)
        await dying.claim(ROOM, [])

    async def settle(self) -> None:
        """Settle one of the claims, each recipient by chance."""
        if not self._held:
            return
        claim = self._held.pop(self._random.randrange(len(self._held)))
        chosen = [self._random.choice(_OUTCOMES) for _ in claim.batch.tokens]
        [row] = await self._database.values(
            b"select device_ids::text[] from batches where id = %(id)s", {"id": claim.batch.id}
        )
        outcomes = {position: outcome for position, outcome in enumerate(chosen) if outcome is not None}
        assert await self._worker.settle([finished(claim, outcomes)]) == 0
        for device, outcome in zip(row[0], chosen, strict=True):
            word = "accepted" if outcome is None else outcome.kind.value
            if word in ("accepted", "failed", "dropped", "expired"):
                self.final[self.ids[claim.batch.push_id], device] = word

    async def register(self) -> None:
        """A device comes back with another token, whatever it was."""
        await self._database.execute(
            b"update devices set token = token || '+', state = 'active', failing_reason = '', hold_until = null,"
            b" updated_at = now(), registered_at = now() where id = %(id)s",
            {"id": self._random.choice(self.devices)},
        )

    async def remove(self) -> None:
        device = self._random.choice(self.devices)
        await self._database.execute(b"delete from devices where id = %(id)s", {"id": device})
        self.removed.add(device)

    async def cancel(self) -> None:
        if self.pushes:
            uid = self._random.choice(list(self.pushes))
            await pushes.cancel(self._database, uid)
            self.cancelled.add(uid)

    async def pause(self) -> None:
        if self.pushes:
            await pushes.pause(self._database, self._random.choice(list(self.pushes)))

    async def resume(self) -> None:
        for uid in self.pushes:
            await pushes.resume(self._database, uid)


@pytest.mark.parametrize("seed", range(25))
async def test_the_verdicts_of_all_devices_are_the_ledger(
    database: Database, context: Callable[..., Context], seed: int
) -> None:
    await add_credentials(database)
    history, explain = History(database, Random(seed)), explainer(context)
    await history.begin()
    for _ in range(30):
        await history.step()
    for uid, devices in history.pushes.items():
        verdicts = {device: (await explain(uid, device))["verdict"] for device in devices}
        for device, verdict in verdicts.items():
            if verdict == "unknown_device":  # cancelled before it was ever sent, and removed: nothing tells of it
                assert device in history.removed
                assert uid in history.cancelled
                verdicts[device] = "cancelled"
            told = history.final.get((uid, device))
            assert told in (None, verdict), f"{device} was reported as {told}"
        status = await push_status(context(), PushUidParams(uid))
        ledger = {name: getattr(status.ledger, name) for name in status.ledger.__struct_fields__ if name != "planned"}
        assert Counter(verdicts.values()) == Counter({name: count for name, count in ledger.items() if count})
