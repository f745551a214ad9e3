"""What became of a device in a push, in one word and one sentence: by the record, else by what is missing from it."""

import msgspec

from methods.addressing import Addressing
from storage.record import Attempt, DeviceNow, Record, Waiting

UNSENT = ("released", "held")
AGAIN = ("retry", *UNSENT)
"""The outcomes after which a recipient is in the queue again; of those the unsent are no attempts."""

_SAID = {
    "accepted": "{provider} accepted it at attempt {attempt}",
    "failed": "it failed at attempt {attempt}: {reason}",
    "dead": "{provider} refused it at attempt {attempt}, its token is dead: {reason}",
    "retry": "{provider} did not take it: {reason}; it is sent again",
    "released": "it was given back unsent, which is no attempt",
    "held": "it is held: {reason}",
    "expired": "its time was over before it could be sent: {reason}",
    "cancelled": "the push was cancelled before it was sent",
    "suppressed": "it was not sent: {reason}",
    "dropped": "it was dropped: {reason}",
}
_REASONS = {
    "OutsideWindow": "it was outside the push's window of local time",
    "RateLimited": "it was over the push's rate limit",
    "NoTimezone": "the push has a window of local time, and no time zone is known of the device",
    "QuietHours": "its user has quiet hours",
    "Snoozed": "its user wants nothing for a while",
    "LevelTooLow": "its user wants more important pushes only",
    "TopicMuted": "its user has muted every topic by which the push reaches it",
    "Online": "its user was in the app",
    "DeviceRemoved": "the device was removed before it could be sent again",
}
_LEFT_OUT = "planning left it out: {reason}"
_MISSED = {
    "device_ids": "it is not among the device_ids of the push",
    "users": "its user is not among the users of the push, as things are now",
    "channels": "it has none of the channels of the push, as things are now",
    "condition": "its topics do not fulfil the condition of the push, as things are now",
    "filter": "it does not match the filter of the push, as things are now",
}


class Verdict(msgspec.Struct, frozen=True):
    """`word` for programs, `detail` for people; `reason` is the provider's word, or ours."""

    word: str
    detail: str
    reason: str = ""


def said_of(attempt: Attempt) -> str:
    """What came of one attempt, in words."""
    text = _LEFT_OUT if attempt.attempt == 0 else _SAID.get(attempt.outcome, "{reason}")
    reason = _REASONS.get(attempt.reason, attempt.reason) or "no reason is recorded"
    return text.format(provider=attempt.provider, attempt=attempt.attempt, reason=reason)


def of_attempts(attempts: list[Attempt], *, waits: bool, is_cancelled: bool) -> Verdict:
    """What the attempts came to: the last word, or that it is to be sent again."""
    last = next((each for each in reversed(attempts) if each.outcome not in AGAIN), None)
    if last is not None:
        return Verdict("failed" if last.outcome == "dead" else last.outcome, said_of(last), last.reason)
    if waits:
        return Verdict("pending", "it is to be sent again", attempts[-1].reason if attempts else "")
    if is_cancelled:
        return Verdict("cancelled", "the push was cancelled while it waited to be sent again", "Cancelled")
    return Verdict("unknown", "it was to be sent again, and the record does not go on")


def of_record(record: Record) -> Verdict | None:
    """What attempts and queue say of the device; None when it is in neither."""
    if not record.attempts and not record.waiting:
        return None
    verdict = of_attempts(record.attempts, waits=bool(record.waiting), is_cancelled=record.state == "cancelled")
    if verdict.word != "pending":
        return verdict
    return msgspec.structs.replace(verdict, detail=why_waiting(record, record.waiting[-1]))


def why_waiting(record: Record, batch: Waiting) -> str:
    """Why a batch is still in the queue."""
    if batch.claimed:
        return (
            f"attempt {batch.attempt} is in flight"
            if batch.is_ahead
            else "its sender ended without a word, and another one takes it up"
        )
    if record.is_over:
        return "its time is over, and it will be counted as expired"
    if record.paused_at:
        return "the push is paused"
    if batch.pause:
        return f"the credential {batch.credential} is paused: {batch.pause_reason}"
    if batch.waits and batch.is_ahead:
        return "it waits for its time"
    if batch.parked or batch.paced:
        return "it waits for the rate of its push"
    return "it waits for its turn"


def of_absence(
    record: Record, device_id: str, addressing: Addressing, *, matches: bool | None, kept_since: int
) -> list[Verdict]:
    """Why the device is in no batch, as far as that shows: the most likely first.

    `matches` is whether it would be found now, None when that cannot be told.
    """
    device = record.device
    if device is None:
        return [Verdict("unknown_device", "there is no device with this id; it may have been removed")]
    if not addressing.is_to_devices and addressing.form:
        return [_of_raw(addressing)]
    found = _of_device(record, device)
    if matches is False:
        found.append(Verdict("not_matched", _MISSED[addressing.form], "NotMatched"))
    rest = _of_push(record, device_id, device, kept_since)
    if rest.word == "cancelled" and all(each.word == "inactive" for each in found) and device.changed_later:
        return [rest, *found]  # it was active when it was planned
    return [*found, rest] if not found or rest.word != "not_matched" else found


def _of_raw(addressing: Addressing) -> Verdict:
    if addressing.is_to_tokens:
        return Verdict("not_matched", "the push is to raw tokens, and the token it has now is not among them", "Raw")
    return Verdict(
        "unknown", "the push is to a topic that the provider keeps, which alone knows whom it reached", "Raw"
    )


def _of_device(record: Record, device: DeviceNow) -> list[Verdict]:
    found: list[Verdict] = []
    if device.registered_later:
        found.append(Verdict("not_matched", "it was registered after the push was sent", "RegisteredLater"))
    if device.state != "active":
        detail = f"it is {device.state}: {device.failing_reason or 'no reason is recorded'}"
        found.append(Verdict("inactive", detail, device.failing_reason))
    if device.provider not in record.providers:
        found.append(Verdict("skipped", f"the push has no payload for {device.provider}", "NoPayload"))
    if device.credential is None:
        named = f" named {device.provider_id}" if device.provider_id else ""
        found.append(Verdict("skipped", f"there is no {device.provider} credential{named} now", "NoCredential"))
    return found


def _of_push(record: Record, device_id: str, device: DeviceNow, kept_since: int) -> Verdict:
    """What is left when nothing speaks against the device."""
    is_planned = bool(record.planned_at) or (record.cursor is not None and device_id <= record.cursor)
    if record.state == "cancelled":
        detail = (
            "the push was cancelled before it was sent"
            if is_planned
            else "the push was cancelled before it was planned"
        )
        return Verdict("cancelled", detail, "Cancelled")
    if not is_planned:
        return Verdict("pending", _why_unplanned(record))
    if kept_since and record.planned_at and record.planned_at < kept_since:
        return Verdict("unknown", "what came of it is older than the outcomes that are kept")
    changed = "it was changed since" if device.changed_later else "its topics or its user's may have changed since"
    return Verdict("not_matched", f"it did not match when the push was planned; {changed}", "NotMatched")


def _why_unplanned(record: Record) -> str:
    if record.paused_at:
        return "the push is paused, and its planning has not come to this device"
    if record.is_ahead:
        return "the push is scheduled"
    return "planning has not come to this device yet"
