"""Decodes a part of a payload and says where it is wrong without repeating any of it."""

import re
from typing import TypeVar

import msgspec

from delivery.providers.contract import PayloadError

_WHERE = re.compile(r" - at `(?:key in )?\$([^`]*)`$")
T = TypeVar("T")


def decode(raw: bytes, kind: type[T], path: str) -> T:
    """Decode `raw` as `kind`; PayloadError with the path of what does not fit."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        text = str(error)
        where = _WHERE.search(text)
        raise PayloadError(_WHERE.sub("", text).replace("`", ""), path + (where[1] if where else "")) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise PayloadError("not well-formed JSON", path) from None
    except RecursionError:
        raise PayloadError("nested too deeply", path) from None
