"""Claims batches, hands them to their provider, and hands what came of them to the settler."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from delivery.admission import Admissions
from delivery.batches import Batch, Results
from delivery.clocks import Asked
from delivery.endings import RELEASED, REMOVED, ended, settle_all
from delivery.messages import Messages
from delivery.outcomes import Outcome, Pause
from delivery.pace import Pace
from delivery.pausing import Pausing, held_by
from delivery.providers.registry import Registry
from delivery.queues.contract import Claim, Queue
from delivery.settler import Settler
from delivery.submission import InFlight, Submission
from storage.database import DatabaseUnavailableError

_LOG = logging.getLogger(__name__)
_OUTAGE_SECONDS = 0.5
_URGENT_SECONDS = 0.01  # how often a busy sender looks for urgent batches
_URGENT_ROOM = 1000
_QUOTA_SECONDS = 0.05  # a quota is paid a tenth of a second ahead: who waits longer for the next look leaves it unused
_QUOTA_LASTS_SECONDS = 1.0  # after the last claim for a credential with a quota
_FENCED = 0.75  # of a lease: when so much has passed without its being kept, nothing more of it is sent
_ALARM_SECONDS = 30.0  # a clock so far from the database's is something for an operator


class SenderOptions(msgspec.Struct, frozen=True):
    """Times in seconds.

    `ahead_seconds` of work are claimed ahead of what a credential has in flight, `most_recipients` at the most.
    """

    lease_seconds: float = 60.0
    poll_seconds: float = 1.0
    ahead_seconds: float = 0.15
    most_recipients: int = 50_000


class Sender:
    """Sends what the queue holds for the credentials of the registry; see `run` and `stop`."""

    def __init__(
        self,
        queue: Queue,
        registry: Registry,
        settler: Settler,
        options: SenderOptions,
        messages: Messages,
        admissions: Admissions,
        outdated: Callable[[], None] = lambda: None,
    ) -> None:
        self._queue = queue
        self._registry = registry
        self._settler = settler
        self._options = options
        self._messages = messages
        self._submission = Submission(registry, messages, admissions)
        self._pauses = Pausing(queue, registry)
        self._outdated = outdated
        # a batch that we lost and claimed again is here twice: its earlier attempt still waits for answers
        self._in_flight: dict[tuple[int, int], InFlight] = {}
        self._paces: dict[str, Pace] = {}
        self._claimed_at = float("-inf")
        self._clock_is_wrong = False
        self._quota_until = float("-inf")
        self._idle = asyncio.Event()
        self._idle.set()
        self._pausing: set[asyncio.Task[None]] = set()
        self._ceased = False
        self._claims = 0  # under way
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.wake = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """How many batches are claimed and not finished."""
        return len(self._in_flight)

    async def run(self) -> None:
        """Claim and send until cancelled; wakes by `wake`, by a finished batch, or by its poll."""
        while not self._ceased:
            asked = Asked()
            try:
                with self._claiming():
                    claims = await self._claim()
                    for claim in claims:
                        self._start(claim, asked)
            except DatabaseUnavailableError as error:
                _LOG.warning("claiming waits for the database", extra={"error": str(error)})
                await asyncio.sleep(_OUTAGE_SECONDS)
                continue
            self._messages.trim()
            if not claims:
                await self._wait()

    async def keep(self) -> None:
        """Keep the leases, notice cancelled pushes, try paused credentials: every second, until cancelled."""
        while True:
            await asyncio.sleep(min(1.0, self._options.lease_seconds / 4))
            try:
                await self._keep_leases()
                if not self._ceased:
                    with self._claiming():
                        await self._look_after_pauses()
                        asked = Asked()
                        for claim in await self._queue.claim_ended():
                            self._start(claim, asked, default=REMOVED)
            except DatabaseUnavailableError as error:
                _LOG.warning("keeping leases waits for the database", extra={"error": str(error)})

    async def fence(self) -> None:
        """Send no more of what could not be kept, until cancelled: when its lease ends, somebody else sends it.

        By this host's own time, because the database may be out of reach, and an attempt to ask it may hang.
        """
        lease = self._options.lease_seconds
        while True:
            await asyncio.sleep(min(1.0, lease / 8))
            limit = time.monotonic() - lease * _FENCED
            over = {e.batch.id for e in self._in_flight.values() if e.extended_at < limit and not e.stopped}
            if over:
                _LOG.warning("leases could not be kept: nothing more is sent of them", extra={"batches": len(over)})
                self._give_back(over)

    async def cease(self, most_seconds: float) -> None:
        """Claim nothing more; returns when what is being claimed has come, so that `stop` can give it back.

        A claim that is cancelled while it waits for its answer may have been made: nobody would know of it.
        """
        self._ceased = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_seconds):
                await self._quiet.wait()

    @contextlib.contextmanager
    def _claiming(self) -> Iterator[None]:
        self._claims += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._claims -= 1
            if not self._claims:
                self._quiet.set()

    async def stop(self, grace_seconds: float) -> None:
        """Give back what is not sent, wait up to `grace_seconds` for what is; call it after `run` has ended."""
        self._cancel(lambda batch: True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._idle.wait()

    def stop_push(self, push_id: str) -> None:
        """Do not send what is not sent yet of this push: it was cancelled, or paused."""
        self._cancel(lambda batch: batch.push_id == push_id)

    def _give_back(self, batches: set[int]) -> None:
        self._cancel(lambda batch: batch.id in batches)

    def _cancel(self, meant: Callable[[Batch], bool], *, probes: bool = True) -> None:
        """Give back what is not sent of these batches. Cancelling may finish them, and others with them."""
        for entry in [each for each in self._in_flight.values() if meant(each.batch) and (probes or not each.probe)]:
            if (entry.batch.id, entry.batch.attempt) in self._in_flight:
                entry.stop()

    async def _claim(self) -> list[Claim]:
        room = self._room()
        now = time.monotonic()
        if room:
            self._claimed_at = now
            return await self._queue.claim(room, self._messages.known())
        if now - self._claimed_at < _URGENT_SECONDS:
            return []
        self._claimed_at = now  # all are busy: what is urgent goes before what they hold
        urgent = dict.fromkeys(self._registry.ids(), _URGENT_ROOM)
        return await self._queue.claim(urgent, self._messages.known(), only_urgent=True) if urgent else []

    def _room(self) -> dict[str, int]:
        """How many recipients to claim for each credential, by what each has sent lately and what it holds.

        No credential's trouble takes another's room. A busy one is claimed for in large bites: claims of 1,000 cost the
        database three times as much a recipient as claims of 5,000.
        """
        room: dict[str, int] = {}
        for credential in self._registry.ids():
            provider = self._registry.get(credential)
            if provider is None:
                continue
            pace = self._paces.setdefault(credential, Pace())
            held = pace.held
            most = min(
                self._options.most_recipients, max(held + provider.room(""), pace.ahead(self._options.ahead_seconds))
            )
            if most - held > (most // 3 if held else 0):
                room[credential] = most - held
        return room

    async def _wait(self) -> None:
        """Until woken, or the next look is due: what waits for a quota is there, and nobody says when it may go."""
        longest = _QUOTA_SECONDS if time.monotonic() < self._quota_until else self._options.poll_seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(longest, self._options.poll_seconds)):
                await self.wake.wait()
        self.wake.clear()

    def _start(self, claim: Claim, asked: Asked, *, probe: bool = False, default: Outcome | None = None) -> None:
        batch = claim.batch
        self._set_clock(batch, asked)
        if claim.request is not None:
            self._messages.learn(batch.push_id, claim.request, claim.uid, claim.analytics_uid)
        results = Results(batch, self._finished)
        entry = InFlight(batch, results, asked.monotonic, probe=probe)
        self._in_flight[batch.id, batch.attempt] = entry
        self._paces.setdefault(batch.credential, Pace()).took(len(batch.tokens))
        if self._registry.way(batch.credential).quota_per_minute:
            self._quota_until = time.monotonic() + _QUOTA_LASTS_SECONDS
        self._idle.clear()
        ending = ended(claim) or default
        if ending is None and self._registry.version(batch.credential) != batch.version:
            self._outdated()  # the credential was changed, and this worker has not heard of it
            ending = RELEASED
        if ending is not None:
            settle_all(results, ending)
        else:
            self._submission.submit(entry)

    def _set_clock(self, batch: Batch, asked: Asked) -> None:
        batch.ahead_seconds = asked.ahead_seconds(batch.claimed_at)
        wrong = abs(batch.ahead_seconds) > _ALARM_SECONDS
        if wrong and not self._clock_is_wrong:
            facts = {"ahead_seconds": round(batch.ahead_seconds)}
            _LOG.error("this host's clock is not the database's: push services may refuse its tokens", extra=facts)
        self._clock_is_wrong = wrong

    def _finished(self, results: Results) -> None:
        batch = results.batch
        entry = self._in_flight.pop((batch.id, batch.attempt))
        self._paces[batch.credential].finished(len(batch.tokens))
        pauses = {o.pause: o.reason for o in results.exceptions.values() if o.pause is not None}
        if reason := self._pauses.suspicion(entry):
            pauses[Pause("trouble")] = reason
        self._pauses.spare(entry)
        for scope in {pause.scope for pause in pauses if pause.kind == "trouble"}:
            self._cancel(partial(held_by, batch.credential, scope))
        if pauses or entry.probe:
            # before it is settled, so that what goes back to the queue is not claimed again at once
            task = asyncio.get_running_loop().create_task(self._pause_then_settle(entry, pauses))
            self._pausing.add(task)
            task.add_done_callback(self._pausing.discard)
        else:
            self._settle(results)

    def _settle(self, results: Results) -> None:
        self._settler.add(results)
        self.wake.set()
        if not self._in_flight and not self._pausing:
            self._idle.set()

    async def _pause_then_settle(self, entry: InFlight, pauses: dict[Pause, str]) -> None:
        try:
            await self._pauses.record(entry, pauses)
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._pausing.discard(task)
            self._settle(entry.results)

    async def _keep_leases(self) -> None:
        now = time.monotonic()
        late = [e for e in self._in_flight.values() if now - e.extended_at > self._options.lease_seconds / 3]
        pushes = {entry.batch.push_id for entry in self._in_flight.values()}
        settling = self._settler.waiting(older_than_seconds=self._options.lease_seconds / 3)
        if not pushes and not settling:
            return
        stopped = await self._queue.extend([entry.batch.id for entry in late] + settling, list(pushes))
        for entry in late:
            entry.extended_at = now
        for push_id in stopped:
            self.stop_push(push_id)

    async def _look_after_pauses(self) -> None:
        credentials = self._registry.ids()
        if not credentials:
            return
        self._cancel(await self._pauses.follow(), probes=False)
        asked = Asked()
        for claim in await self._queue.claim_probe(credentials, self._messages.known()):
            self._start(claim, asked, probe=True)
        if await self._queue.lift_idle_pauses():
            self.wake.set()
