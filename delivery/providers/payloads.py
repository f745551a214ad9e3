"""What can be said of a payload when the push is accepted, before anything is queued (providers.md section 9.9)."""

import msgspec

from delivery.providers import apns_payload, fcm_payload, hms_payload, webhook_message, webpush_payload
from delivery.providers.contract import PayloadError


def check(provider: str, raw: bytes, target: str = "token") -> None:
    """Raise PayloadError for everything that `provider` would certainly refuse of its member of `notification`.

    `raw` is that member as it came, `target` what it will be sent to: token, fid, topic or condition. The error's
    path names the field from `notification` on. Providers without rules here pass when the member is an object.
    """
    if provider == "apns":
        apns_payload.read(raw)
    elif provider == "fcm":
        fcm_payload.read(raw, target)
    elif provider == "hms":
        hms_payload.read(raw)
    elif provider == "webpush":
        webpush_payload.read(raw)
    elif provider == "webhook":
        webhook_message.read(raw)
    elif not raw.lstrip().startswith(b"{"):
        raise PayloadError("an object is expected", f"notification.{provider}")


class _HeadersOnly(msgspec.Struct):
    headers: dict[str, msgspec.Raw] | None = None


def explicit_topic(raw: bytes) -> str:
    """Return the `apns-topic` that the headers of `notification.apns` name, '' when they name none."""
    return _header(raw, "apns-topic")


def is_voip(raw: bytes) -> bool:
    """Whether `notification.apns` is a call, which goes to the token that a device has for calls."""
    if b"voip" not in raw:
        return False
    push_type = _header(raw, "apns-push-type")
    return push_type == "voip" or (not push_type and explicit_topic(raw).endswith(apns_payload.SUFFIXES["voip"]))


def _header(raw: bytes, wanted: str) -> str:
    try:
        headers = msgspec.json.decode(raw, type=_HeadersOnly).headers or {}
        found = next((value for name, value in headers.items() if name.lower() == wanted), None)
        return "" if found is None else msgspec.json.decode(found, type=str)
    except msgspec.DecodeError:
        return ""  # what is wrong with it is for `check` to say
