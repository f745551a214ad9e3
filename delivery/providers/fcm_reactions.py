"""What each answer of FCM asks of us (providers.md 2.3, 2.4).

Source: https://firebase.google.com/docs/cloud-messaging/error-codes
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from delivery.outcomes import Kind
from delivery.providers.reactions import Again, Pausing, Reaction, unlisted

SERVER_BACKOFF_SECONDS = 10.0
QUOTA_BACKOFF_SECONDS = 60.0

_FAIL = Reaction(Kind.FAILED)
_LATER = Reaction(Kind.RETRY, backoff_base_seconds=SERVER_BACKOFF_SECONDS)
_PAUSE = Reaction(Kind.RETRY, pausing=Pausing.CREDENTIAL, alarm=True)
_PLATFORM = Reaction(Kind.RETRY, pausing=Pausing.PLATFORM, alarm=True, backoff_base_seconds=QUOTA_BACKOFF_SECONDS)
_RENEW = Reaction(Kind.RETRY, again=Again.RENEWED, pausing=Pausing.CREDENTIAL, alarm=True)
_PROJECT_QUOTA = Reaction(Kind.RETRY, pausing=Pausing.THROTTLE, backoff_base_seconds=QUOTA_BACKOFF_SECONDS)

BAD_TARGET = "BAD_TARGET"
TARGET_QUOTA = "TARGET_QUOTA"
_ANY = ""

TABLE: Mapping[tuple[int, str], Reaction] = MappingProxyType(
    {
        (404, "UNREGISTERED"): Reaction(Kind.DEAD),
        (404, _ANY): _PAUSE,  # no FcmError: the project or the URL is wrong, the tokens are not at fault
        (400, BAD_TARGET): Reaction(Kind.DEAD),
        (400, "INVALID_ARGUMENT"): _FAIL,
        (403, "SENDER_ID_MISMATCH"): Reaction(Kind.DEAD, alarm=True),
        (403, _ANY): _PAUSE,
        (401, "THIRD_PARTY_AUTH_ERROR"): _PLATFORM,
        (401, "APNS_AUTH_ERROR"): _PLATFORM,
        (401, _ANY): _RENEW,
        (429, TARGET_QUOTA): Reaction(Kind.RETRY, backoff_base_seconds=QUOTA_BACKOFF_SECONDS),
        (429, _ANY): _PROJECT_QUOTA,
        (500, _ANY): _LATER,
        (502, _ANY): _LATER,
        (503, _ANY): _LATER,
        (504, _ANY): _LATER,
    }
)
"""By status and what is known beyond it; an empty name is the row for everything else of that status."""


class Refusal(msgspec.Struct, frozen=True):
    """What an answer that is not 200 says: its row in the table, FCM's own word for it, the fields it finds wrong."""

    row: str
    reason: str
    field: str = ""


class _Detail(msgspec.Struct):
    errorCode: str = ""
    fieldViolations: list[dict[str, Any]] = []
    violations: list[dict[str, Any]] = []


class _Error(msgspec.Struct):
    status: str = ""
    message: str = ""
    details: list[_Detail] = []


class _Body(msgspec.Struct):
    error: _Error


class _LooseError(msgspec.Struct):
    status: str = ""
    message: str = ""


class _LooseBody(msgspec.Struct):
    error: _LooseError


_DECODER = msgspec.json.Decoder(_Body)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_LOOSE_DECODER = msgspec.json.Decoder(_LooseBody)
_SILENT = _Error()
_TARGET_FIELDS = ("message.token", "message.fid")
_TARGET_QUOTAS = ("device", "token", "registration", "topic")
_MAX_REASON = 64
_MAX_FIELDS = 5
_MAX_FIELD = 100
_FIELD = re.compile(r"[A-Za-z_]+(?:\[[0-9]+\])?(?:\.[A-Za-z_]+(?:\[[0-9]+\])?)*", re.ASCII)
_BELOW_DATA = re.compile(r"(?<=\bdata)[.\[].*")


def read_refusal(status: int, body: bytes) -> Refusal:
    """Read an answer's body: FCM's errorCode, else its status, else the HTTP status alone."""
    error = _read_error(body)
    code = next((detail.errorCode for detail in error.details if detail.errorCode), "")
    reason = code or error.status
    if len(reason) > _MAX_REASON or not reason.replace("_", "").isalnum():
        code, reason = "", f"HTTP_{status}"
    row = code
    if status == 400 and _names_target(error):
        row = BAD_TARGET
    elif status == 400:
        row = reason
    elif status == 429 and _limits_target(error):
        row = TARGET_QUOTA
    return Refusal(row, reason, _fields(error))


def reaction(status: int, row: str) -> Reaction:
    """The row of the table for an answer."""
    return TABLE.get((status, row)) or TABLE.get((status, _ANY)) or unlisted(status)


def _read_error(body: bytes) -> _Error:
    try:
        return _DECODER.decode(body).error
    except _UNREADABLE:  # the details may be of another shape than Google documents
        return _read_loosely(body)


def _read_loosely(body: bytes) -> _Error:
    try:
        loose = _LOOSE_DECODER.decode(body).error
    except _UNREADABLE:
        return _SILENT
    return _Error(loose.status, loose.message)


def _fields(error: _Error) -> str:
    """Return the names of the fields at fault. What is below `data` is the caller's own words, and left out."""
    named = (str(violation.get("field", "")) for detail in error.details for violation in detail.fieldViolations)
    fields = dict.fromkeys(_BELOW_DATA.sub("", name) for name in named if len(name) <= _MAX_FIELD)
    return ",".join([name for name in fields if _FIELD.fullmatch(name)][:_MAX_FIELDS])


def _names_target(error: _Error) -> bool:
    """Whether a bad argument is the recipient's address: said by field, or in FCM's own words without details."""
    fields = [str(violation.get("field", "")) for detail in error.details for violation in detail.fieldViolations]
    if fields:
        return any(field in _TARGET_FIELDS for field in fields)
    text = error.message.lower()
    return "registration token" in text and ("not a valid" in text or "not valid" in text)


def _limits_target(error: _Error) -> bool:
    """Whether a quota is that of one device or topic; a quota that is not named is taken for the project's."""
    for detail in error.details:
        for violation in detail.violations:
            text = f"{violation.get('subject', '')} {violation.get('description', '')}".lower()
            if "project" not in text and any(word in text for word in _TARGET_QUOTAS):
                return True
    return False
