"""JSON merge patch (RFC 7396): how a provider's own object is laid over the one built from neutral fields."""

from typing import Any

import msgspec

MOST_LEVELS = 64

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_VALUE = msgspec.json.Decoder(msgspec.Raw)


def merge(target: Any, patch: Any) -> Any:
    """Return `target` changed by `patch`; neither of them is.

    Objects are merged member by member, None removes a member, and everything else replaces what was there.
    """
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def opened(raw: bytes) -> Any:
    """Decode objects and null; everything else stays the bytes it is, so that numbers keep their spelling.

    Raises msgspec.DecodeError or UnicodeDecodeError when it is not JSON, RecursionError below 64 levels of objects.
    """
    return _opened(bytes(_VALUE.decode(raw)), MOST_LEVELS)


def _opened(value: bytes, levels: int) -> Any:
    if value == b"null":
        return None
    if not value.startswith(b"{"):
        return msgspec.Raw(value)
    if not levels:
        raise RecursionError("nested too deeply")
    return {name: _opened(bytes(member), levels - 1) for name, member in _OBJECT.decode(value).items()}


def text(value: Any) -> str:
    """Return a string of an opened tree; '' for every other value."""
    try:
        return msgspec.json.decode(value, type=str) if isinstance(value, msgspec.Raw) else ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
