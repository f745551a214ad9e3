"""Tokens that die: which devices had to be found dead and when, and that no other one was."""

from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.evidence import CLOCK_SECONDS, Evidence
from tests.chaos.history import Changed
from tests.chaos.population import SANDBOX
from tests.chaos.record import Attempt, DeviceRecord

GONE = {"Unregistered", "UNREGISTERED", "errno_106", "HTTP_410", "Unsubscribed", "illegal_tokens"}
FOREIGN = {"DeviceTokenNotForTopic", "SENDER_ID_MISMATCH", "errno_109", "VapidKeyMismatch"}
NONE_VALID = "80300007"
"""HMS: all tokens of a request are illegal. They may be those of another app, so it makes devices failing, not dead."""
_REGISTERS = ("register", "token", "revive")
_NEVER = float("inf")


class Deaths:
    """Between which times each device was certainly known to be dead: from the first answer that had to bury it."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._answers: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in evidence.record.attempts:
            for position, (outcome, reason) in attempt.ends.items():
                if outcome == "dead" and reason in GONE:
                    self._answers[attempt.recipients[position]].append(attempt)
        self._spells = {device: list(self._spells_of(device)) for device in self._answers}

    def buried(self, device: str, start: float, end: float) -> bool:
        """Whether it was certainly known to be dead all that time."""
        return any(begun <= start and end <= over for begun, over in self._spells.get(device, []))

    def explains(self, device: str, attempt: Attempt, reason: str, *, stopped: bool) -> bool:
        """Whether this attempt may have found a dead token of the device, or one of the other environment.

        The other environment is not tried for a push that was cancelled meanwhile, or a device that was removed. A
        wrong credential finds every token dead until the breaker trips; it must have been the wrong one still when the
        batch was claimed.
        """
        changes = self._evidence.history.changes.get(device, [])
        claimed_at = self._evidence.claimed_at(attempt)
        if reason == NONE_VALID:
            died = any(change.verb == "die" and change.started_at <= attempt.settled_at for change in changes)
            return died or self._evidence.mistaken(attempt.provider, claimed_at, claimed_at)
        if reason in FOREIGN:
            return self._evidence.mistaken(attempt.provider, claimed_at, claimed_at)
        if reason == "BadDeviceToken" and self._evidence.mistaken(attempt.provider, claimed_at, attempt.settled_at):
            return any(each.token.startswith(SANDBOX) for each in changes)  # of another app there is no other one
        if reason not in GONE:
            return reason == "BadDeviceToken" and stopped and any(each.token.startswith(SANDBOX) for each in changes)
        return any(change.verb == "die" and change.started_at <= attempt.settled_at for change in changes)

    def _spells_of(self, device: str) -> Iterator[tuple[float, float]]:
        """(certainly known to be dead since, until a registration may have changed that)."""
        changes = self._evidence.history.changes.get(device, [])
        for place, death in enumerate(changes):
            if death.proof != "after":
                continue
            later = (each.started_at for each in changes[place + 1 :] if each.verb in (*_REGISTERS, "remove"))
            over = next(later, _NEVER)
            answers = (
                each.settled_at
                for each in self._answers[device]
                # claimed after it died: the answer then is younger than the registration, whatever it says of when
                if death.answered_at <= self._evidence.claimed_at(each)
                and each.settled_at < over
                # and not while a wrong credential had made it failing, which it then stays
                and not self._evidence.mistaken(each.provider, death.started_at, each.settled_at)
            )
            begun = min(answers, default=_NEVER)
            if begun < over:
                yield begun + CLOCK_SECONDS, over


def check_devices(evidence: Evidence, deaths: Deaths) -> int:
    """Compare the state of every device at the end with what became of it; how many are dead."""
    dead = 0
    for device, changes in evidence.history.changes.items():
        stored = evidence.record.devices.get(device)
        removed = any(change.verb == "remove" for change in changes)
        if stored is None or removed:
            if (stored is None) != removed:
                evidence.find("unexplained", "", f"device {device} is {'gone' if stored is None else 'still there'}")
            continue
        dead += stored.state == "dead"
        for text in _wrong(stored, changes, deaths):
            evidence.find("unexplained", "", f"device {device} {text}; {[c.verb for c in changes]}")
    return dead


def _wrong(stored: DeviceRecord, changes: list[Changed], deaths: Deaths) -> Iterator[str]:
    place = max(place for place, change in enumerate(changes) if change.verb in _REGISTERS)
    died = any(change.proof == "after" for change in changes[place:])
    if stored.token != changes[place].token:
        yield "has another token than it was registered with"
    failing = stored.state == "failing" and not (died and stored.failing_reason == NONE_VALID)
    if failing or (stored.state == "dead" and not died):
        yield f"is {stored.state} ({stored.failing_reason}), and its token is good"
    if stored.state == "active" and deaths.buried(stored.id, _NEVER, _NEVER):
        yield "is active, and its token was answered as dead"
    if stored.environment == "sandbox" and not stored.token.startswith(SANDBOX):
        yield "was moved to the sandbox, and its token is at home in production"
