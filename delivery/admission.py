"""Who of a batch may get the push now: windows of local time and rate limits, judged when it is about to be sent.

When it is planned would be too early: between then and now lie retries, pauses and whatever else keeps a batch waiting.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from delivery.batches import Batch
from delivery.contents import Limits
from delivery.outcomes import Kind, Outcome
from delivery.rates import render_key
from delivery.windows import opens_at
from storage import limits as storage
from storage.database import Database
from storage.limits import Admission

_NO_ZONE = Outcome(Kind.DROPPED, "NoTimezone")
_OVER = Outcome(Kind.DROPPED, "RateLimited")
_SPREAD_SECONDS = 1.0  # slots of one second share a batch when they come back


Note = Callable[[Batch, Sequence[bool]], Awaitable[None]]


class Admissions:
    """Judges batches; what is admitted is on the record of the limits from then on.

    `note` writes down with the batch whom its limits have let pass: they are not asked again, whatever comes between
    that and sending. Between the two lies a moment in which a crash makes a limit stricter, never looser.
    """

    def __init__(self, database: Database, note: Note, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._note = note
        self._clock = clock

    async def judge(self, batch: Batch, limits: Limits) -> Mapping[int, Outcome]:
        """Who may not get the push now, by position; raises DatabaseUnavailableError."""
        now = self._clock()
        outside = _outside(limits, batch, now)
        if outside is not None:
            return dict.fromkeys(range(len(batch.tokens)), outside)
        rate = limits.rate
        passed = list(batch.admitted or [False] * len(batch.tokens))
        asking = [position for position, admitted in enumerate(passed) if not admitted]
        if rate is None or not asking:
            return {}
        asked = [Admission(_key(batch, position, rate.key)) for position in asking]
        verdicts = await storage.admit(self._database, asked, rate.policies, now, drop=rate.drop)
        blocked = {}
        for position, verdict in zip(asking, verdicts, strict=True):
            passed[position] = verdict.admitted
            if not verdict.admitted:
                blocked[position] = _OVER if rate.drop else _held("RateLimited", verdict.at)
        if len(blocked) < len(asking):
            await self._note(batch, passed)
        return blocked


def _outside(limits: Limits, batch: Batch, now: float) -> Outcome | None:
    """What comes of a batch by the window of local time; its recipients are in one zone."""
    if limits.window is None:
        return None
    opens = opens_at(limits.window, batch.timezone, now)
    if opens is None:
        return None if limits.no_zone_sends_now else _NO_ZONE
    return None if opens <= now else Outcome(Kind.HELD, "OutsideWindow", due_at=opens)


def _held(reason: str, at: float) -> Outcome:
    """Until a slot is free, to the second: recipients who come back together then share a batch."""
    return Outcome(Kind.HELD, reason, due_at=-(-at // _SPREAD_SECONDS) * _SPREAD_SECONDS)


def _key(batch: Batch, position: int, key: str) -> str:
    """Under which the recipient counts; a raw token that no device here has counts for itself."""
    device_id = batch.device_id(position) or batch.tokens[position].decode("utf-8", "replace")
    user = batch.attributes[position].user if batch.attributes else ""
    return render_key(key, device_id, user)
