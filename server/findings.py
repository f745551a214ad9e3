"""What a check of `tocsin doctor` finds."""

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """`said` is what was seen, `advice` what to do about it, '' when all is well."""

    check: str
    verdict: Literal["ok", "warn", "fail"]
    said: str
    advice: str = ""


def ok(check: str, said: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", said)


def warn(check: str, said: str, advice: str) -> Finding:
    """It works, but not as it should in production."""
    return Finding(check, "warn", said, advice)


def fail(check: str, said: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(check, "fail", said, advice)
