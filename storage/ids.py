"""Identifiers: UUIDv7 (RFC 9562 section 5.7), so that keys sort by the time they were made."""

import os
import time
from uuid import UUID


def new_id() -> str:
    """Return a new UUIDv7 in canonical text form: 48 bits of Unix milliseconds, then 74 random bits."""
    value = int.from_bytes(os.urandom(16), "big")
    value = (value & ((1 << 80) - 1)) | (time.time_ns() // 1_000_000 << 80)
    value = (value & ~(0xF << 76)) | (7 << 76)
    value = (value & ~(0x3 << 62)) | (2 << 62)
    return str(UUID(int=value))


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
