"""How a push was addressed, read off its request as it is kept, and whether one device would match it now."""

from dataclasses import dataclass, field

import msgspec

from delivery.planner import Audience
from methods.errors import ApiError
from methods.recipients import Recipient, resolve

_OF_DEVICES = ("filter", "device_ids", "channels", "users", "condition")
_OF_TOKENS = ("fcm_tokens", "apns_tokens", "hms_tokens", "webpush_tokens")


class _Request(msgspec.Struct):
    recipient: Recipient | None = None
    limit_strategy: dict[str, msgspec.Raw] | None = None


@dataclass(frozen=True, slots=True)
class Addressing:
    """`form` is the member of `recipient` that was given, '' when that cannot be told; `topics` those it names."""

    form: str = ""
    audience: Audience | None = None
    topics: list[str] = field(default_factory=list)
    is_limited: bool = False

    @property
    def is_to_devices(self) -> bool:
        """Whether stored devices were chosen, by whatever they have."""
        return self.form in _OF_DEVICES

    @property
    def is_to_tokens(self) -> bool:
        """Whether it is to raw tokens, which stored devices may have."""
        return self.form in _OF_TOKENS

    def names(self, device_id: str) -> bool | None:
        """Whether the device is among the ids that were given; None when none were."""
        ids = self.audience.ids if self.audience else None
        return None if ids is None else device_id in ids

    def narrowed(self, device_id: str, send_at: float) -> dict[str, object] | None:
        """The parameters of planning this audience for this device alone; None when it cannot be in it."""
        if self.audience is None or self.names(device_id) is False:
            return None
        # each device of an audience that is read from topics has one of them: they are a filter as well
        topics = self.audience.drive if self.audience.topics is None else self.audience.topics
        return msgspec.structs.replace(self.audience, kind="filter", topics=topics, ids=[device_id]).parameters(send_at)


def addressing_of(request: bytes) -> Addressing:
    """Read the request of a push; one of a release that knew other forms tells nothing."""
    try:
        given = msgspec.json.decode(request, type=_Request)
    except msgspec.MsgspecError:
        return Addressing()
    limited = bool(given.limit_strategy)
    recipient = given.recipient
    if recipient is None:
        return Addressing(is_limited=limited)
    named = [name for name in recipient.__struct_fields__ if name != "provider_id" and getattr(recipient, name)]
    form = named[0] if named else ""
    if form not in _OF_DEVICES:
        return Addressing(form, is_limited=limited)
    try:
        audience = resolve(recipient).audience
    except ApiError:
        return Addressing(form, is_limited=limited)
    return Addressing(form, audience, _topics(audience), limited)


def _topics(audience: Audience) -> list[str]:
    excluded = audience.exclude.topics if audience.exclude else None
    condition = audience.condition.topics if audience.condition else None
    named = (audience.topics, audience.drive, condition, excluded)
    return list(dict.fromkeys(topic for topics in named for topic in topics or []))
