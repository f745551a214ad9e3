"""Who of a batch may get the push now: what users want, windows of local time, rate limits; judged before sending.

When it is planned would be too early: between then and now lie retries, pauses and whatever else keeps a batch waiting.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from delivery.batches import Batch
from delivery.contents import Content, Limits
from delivery.outcomes import Kind, Outcome
from delivery.preferences import is_muted, judge_preferences
from delivery.rates import RateLimit, render_key
from delivery.windows import opens_at
from storage import limits as storage
from storage import users
from storage.database import Database
from storage.limits import Admission
from storage.users import DevicePreferences

_NO_ZONE = Outcome(Kind.DROPPED, "NoTimezone")
_OVER = Outcome(Kind.DROPPED, "RateLimited")
_ONLINE = Outcome(Kind.SUPPRESSED, "Online")
_NO_LIMITS = Limits()
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

    async def judge(self, batch: Batch, content: Content) -> Mapping[int, Outcome]:
        """Who may not get the push now, by position; raises DatabaseUnavailableError.

        The push's own window first, then what users want, then its rate limit: only who may get the push counts.
        """
        now = self._clock() - batch.ahead_seconds
        limits = content.limits or _NO_LIMITS
        outside = _outside(limits, batch, now)
        if outside is not None:
            return dict.fromkeys(range(len(batch.tokens)), outside)
        blocked = await self._people(batch, content, now)
        if content.auto_badge:
            await self._badges(batch)
        if limits.rate is not None:
            await self._rate(batch, limits.rate, now, blocked)
        return blocked

    async def _people(self, batch: Batch, content: Content, now: float) -> dict[int, Outcome]:
        """Who does not want it now, or has the app open."""
        blocked: dict[int, Outcome] = {}
        if batch.personal and batch.lane and batch.device_ids is not None:
            wants = await users.of_devices(self._database, batch.device_ids, content.topics)
            for position, device_id in enumerate(batch.device_ids):
                if device_id in wants and (outcome := _unwanted(wants[device_id], content, now)) is not None:
                    blocked[position] = outcome
        if content.suppress_if_online:
            online = await users.online_until(self._database, sorted({*_users(batch)}), now)
            blocked |= {position: _ONLINE for position, user in enumerate(_users(batch)) if user and user in online}
        return blocked

    async def _badges(self, batch: Batch) -> None:
        """Put the counters of the users where rendering looks for them."""
        counters = await users.badges(self._database, sorted({*_users(batch)}))
        for known in batch.attributes or ():
            known.badge = counters.get(known.user)

    async def _rate(self, batch: Batch, rate: RateLimit, now: float, blocked: dict[int, Outcome]) -> None:
        passed = list(batch.admitted or [False] * len(batch.tokens))
        asking = [position for position, admitted in enumerate(passed) if not admitted and position not in blocked]
        if not asking:
            return
        asked = [Admission(_key(batch, position, rate.key)) for position in asking]
        verdicts = await storage.admit(self._database, asked, rate.policies, now, drop=rate.drop)
        for position, verdict in zip(asking, verdicts, strict=True):
            passed[position] = verdict.admitted
            if not verdict.admitted:
                blocked[position] = _OVER if rate.drop else _held("RateLimited", verdict.at)
        if any(passed[position] for position in asking):
            await self._note(batch, passed)


def asks(batch: Batch, content: Content) -> bool:
    """Whether anybody must be asked before the batch may be sent."""
    return content.limits is not None or content.asks_of_users or bool(batch.personal and batch.lane)


def _users(batch: Batch) -> list[str]:
    return [known.user for known in batch.attributes or ()]


def _unwanted(wants: DevicePreferences, content: Content, now: float) -> Outcome | None:
    """What comes of a device whose user has preferences; None: it may be sent."""
    preferences = wants.preferences()
    if is_muted(preferences, wants.topics):
        return Outcome(Kind.SUPPRESSED, "TopicMuted")
    quiet = judge_preferences(preferences, wants.timezone, content.importance, now)
    if quiet is None:
        return None
    if quiet.until is None:
        return Outcome(Kind.SUPPRESSED, quiet.reason)
    return Outcome(Kind.DROPPED, quiet.reason) if content.drops_in_quiet_hours else _held(quiet.reason, quiet.until)


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
