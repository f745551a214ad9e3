"""What a push says: a payload for each provider, kept as the bytes that came in."""

from dataclasses import dataclass

import msgspec

from delivery.providers.contract import PayloadError
from delivery.providers.credentials import LATER
from delivery.providers.payloads import check, explicit_topic
from methods.errors import BadRequestError, NotAvailableError
from methods.method import Params

_ABSENT = msgspec.Raw(b"null")


class Notification(Params):
    """A payload for each provider that devices may have; a device whose provider has none is skipped.

    fcm: FCM: {"message": an FCM v1 message without target}, or that message itself
    apns: APNs: {"headers": {"apns-…": text}, "payload": the JSON that the device gets}
    hms: HMS: {"message": …}; kept for the providers of later versions
    webpush: Web Push: {"headers", "payload"}; kept for the providers of later versions
    webhook: {"payload"}; kept for the providers of later versions
    expire_at: no attempt after this time, Unix seconds; the one beside `notification` goes first
    title, subtitle, body, message, sound, badge, image, data, url, category, thread_id, collapse_key, ttl, priority, background, mutable, template: not available in this version
    """  # noqa: E501 - one line a field

    fcm: msgspec.Raw = _ABSENT
    apns: msgspec.Raw = _ABSENT
    hms: msgspec.Raw = _ABSENT
    webpush: msgspec.Raw = _ABSENT
    webhook: msgspec.Raw = _ABSENT
    expire_at: int | None = None
    title: msgspec.Raw = _ABSENT
    subtitle: msgspec.Raw = _ABSENT
    body: msgspec.Raw = _ABSENT
    message: msgspec.Raw = _ABSENT
    sound: msgspec.Raw = _ABSENT
    badge: msgspec.Raw = _ABSENT
    image: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    url: msgspec.Raw = _ABSENT
    category: msgspec.Raw = _ABSENT
    thread_id: msgspec.Raw = _ABSENT
    collapse_key: msgspec.Raw = _ABSENT
    ttl: msgspec.Raw = _ABSENT
    priority: msgspec.Raw = _ABSENT
    background: msgspec.Raw = _ABSENT
    mutable: msgspec.Raw = _ABSENT
    template: msgspec.Raw = _ABSENT


PROVIDERS = ("fcm", "apns", "hms", "webpush", "webhook")
_NEUTRAL = tuple(name for name in Notification.__struct_fields__ if name not in {*PROVIDERS, "expire_at"})


@dataclass(frozen=True, slots=True)
class Payloads:
    """The checked payloads of a push: for which providers there is one, and the APNs topic that it names."""

    providers: list[str]
    apns_topic: str


def payloads_of(notification: Notification, target: str) -> Payloads:
    """Check the payloads as far as it can be done without a credential.

    Raises BadRequestError for what a provider would certainly refuse (type, size, reserved keys), and when there is
    no payload at all; NotAvailableError for the neutral fields, and when nothing but later versions could send it.
    """
    for name in _NEUTRAL:
        if not _absent(getattr(notification, name)):
            detail = "neutral fields are not available in this version; give a payload for each provider"
            raise NotAvailableError(detail, path=f"notification.{name}")
    given = [name for name in PROVIDERS if not _absent(getattr(notification, name))]
    if not given:
        raise BadRequestError("a payload for at least one provider is expected: fcm, apns", path="notification")
    for name in given:
        try:
            check(name, bytes(getattr(notification, name)), target)
        except PayloadError as error:
            raise BadRequestError(error.detail, path=error.path) from None
    if all(name in LATER for name in given):
        raise NotAvailableError(f"{given[0]} is not available in this version", path=f"notification.{given[0]}")
    topic = explicit_topic(bytes(notification.apns)) if "apns" in given else ""
    return Payloads(given, topic)


def _absent(value: msgspec.Raw) -> bool:
    return bytes(value) == b"null"
