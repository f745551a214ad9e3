"""What arrived at a wrong time: too early, after its end, after a cancel, during a pause."""

from tests.chaos.evidence import CUTS, Evidence
from tests.chaos.history import Sent
from tests.chaos.side import Arrival

_LATE_SECONDS = 0.25  # between a check of the clock in one process and the note of another
_STOP_SECONDS = 2.0  # "effective within a second", a process that must notice, and what is in flight


def check_times(evidence: Evidence, sent: Sent) -> None:
    """Check when a push arrived."""
    cancelled_at = _noticed_at(evidence, sent.cancelled_at) + _STOP_SECONDS
    held = [
        (_noticed_at(evidence, each.pause_answered_at) + _STOP_SECONDS, each.resume_started_at) for each in sent.held
    ]
    for arrival in evidence.arrivals[sent.push.uid]:
        for text in _wrong(evidence, sent, arrival):
            evidence.find("late", sent.push.uid, text)
        if arrival.at - arrival.lag > cancelled_at:
            text = f"{arrival.at - sent.cancelled_at:.2f} s after it was cancelled"
            evidence.find("late", sent.push.uid, f"{text}: {_of(evidence, sent, arrival)}")
        for begun, over in held:
            if begun < arrival.at - arrival.lag and arrival.at < over:
                text = f"{arrival.at - begun + _STOP_SECONDS:.2f} s after it was paused"
                evidence.find("late", sent.push.uid, f"{text}: {_of(evidence, sent, arrival)}")


def _wrong(evidence: Evidence, sent: Sent, arrival: Arrival) -> list[str]:
    found = []
    if sent.expire_at is not None and arrival.at - arrival.lag > sent.expire_at + _LATE_SECONDS:
        text = f"{arrival.at - sent.expire_at:.2f} s after its expire_at, lag {arrival.lag}"
        found.append(f"{text}: {_of(evidence, sent, arrival)}")
    if sent.send_at is not None and arrival.at < sent.send_at - _LATE_SECONDS:
        found.append(f"{sent.send_at - arrival.at:.2f} s before its send_at")
    window = sent.push.window
    if window is None or sent.window_opens_at is None:
        return found
    zone = evidence.devices[evidence.recipient(arrival.token)].timezone
    if zone == "UTC" and arrival.at < sent.window_opens_at - _LATE_SECONDS:
        found.append(f"{sent.window_opens_at - arrival.at:.2f} s before its window opened")
    if zone not in ("", "UTC") or (zone == "" and not window.no_zone_now):
        found.append(f"in the zone '{zone}', where its window was not open")
    return found


def _of(evidence: Evidence, sent: Sent, arrival: Arrival) -> str:
    push = evidence.record.pushes.get(sent.push.uid)
    return evidence.story(push, evidence.recipient(arrival.token)) if push is not None else ""


def _noticed_at(evidence: Evidence, told_at: float) -> float:
    """When senders could know of a cancel or a pause: not while the database or its connections are gone."""
    at = told_at
    for kill in evidence.world.kills:
        if kill.kind in (*CUTS, "freeze") and kill.at - 1 <= at <= kill.over_at + evidence.world.lease_seconds:
            at = max(at, kill.over_at + evidence.world.lease_seconds)
    return at
