"""Identifiers: UUIDv7 (RFC 9562 section 5.7), so that keys sort by the time they were made."""

import os
import time
from uuid import UUID


def new_id() -> str:
    """Return a new UUIDv7 in canonical text form: Unix milliseconds, 12 bits of a millisecond, 62 random bits.

    The 12 bits (RFC 9562 section 6.2, method 3) keep the ids that a process makes one after another in that order,
    which within a millisecond chance would decide.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    random = int.from_bytes(os.urandom(8), "big") >> 2
    return str(UUID(int=milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | random))


def as_id(text: str) -> str | None:
    """Return the canonical form of a well-formed UUID text, None for anything else (it names nothing here)."""
    if len(text) != 36:
        return None
    try:
        return str(UUID(text))
    except ValueError:
        return None


def known_form(texts: list[str]) -> list[str]:
    """Keep the well-formed ids of a list: the others cannot exist, so looking for them would find nothing."""
    return [found for text in texts if (found := as_id(text)) is not None]
