"""Huawei's answers: a code in the body, whatever the HTTP status is.

Source of the codes and what they mean:
https://developer.huawei.com/consumer/en/doc/HMSCore-References/https-send-api-0000001050986197. Which HTTP status goes
with a code is not said there: ours is 200 but for what concerns the access token (401) and the service's own trouble
(500, 503). A rule with a `status` gives any other.
"""

import uuid
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec

from emulators.exchange import Answer

JSON = ("content-type", "application/json;charset=UTF-8")
OK = "80000000"
PARTLY = "80100000"
ALL_ILLEGAL = "80300007"


class _Line(NamedTuple):
    status: int
    text: str


CODES = {
    OK: _Line(200, "Success"),
    PARTLY: _Line(200, "The message was sent to a part of the tokens"),
    "80100001": _Line(200, "A parameter is not correct"),
    "80100003": _Line(200, "The message structure is not correct"),
    "80100004": _Line(200, "The expiry time is not correct"),
    "80100013": _Line(200, "The collapse_key is not correct"),
    "80100016": _Line(200, "The message contains sensitive information"),
    "80100017": _Line(200, "Too many topic messages at a time"),
    "80100018": _Line(200, "The message could not be verified"),
    "80100022": _Line(200, "The image is not correct"),
    "80200001": _Line(401, "OAuth authentication failed"),
    "80200003": _Line(401, "The OAuth access token has expired"),
    "80200005": _Line(401, "The JWT has expired"),
    "80300002": _Line(200, "The app has no permission to send"),
    ALL_ILLEGAL: _Line(200, "No token is valid"),
    "80300008": _Line(200, "The message is too large"),
    "80300010": _Line(200, "The number of tokens is not correct"),
    "80300011": _Line(200, "The app may not send messages of high priority"),
    "80300029": _Line(200, "Too many test messages"),
    "80300030": _Line(200, "Too many devices in a test message"),
    "80300036": _Line(401, "The JWT is valid for too long"),
    "80300037": _Line(200, "The app is under a penalty"),
    "80600003": _Line(500, "The OAuth service could not be asked"),
    "81000001": _Line(500, "Internal error"),
}
"""Every code that is known, with our HTTP status and our text for it."""


class Refusal(msgspec.Struct, frozen=True):
    """Why a message is refused: the code, and a text about it."""

    code: str
    detail: str = ""


def coded(code: str, text: str = "", *, status: int | None = None) -> Answer:
    """An answer with this code; ValueError when it is unknown and no status is given."""
    line = CODES.get(code)
    if line is None and status is None:
        raise ValueError(f"status is needed: HMS has no code {code!r}")
    body = {"code": code, "msg": text or (line.text if line else code), "requestId": _request_id()}
    taken = code in (OK, PARTLY)
    http = status or (line.status if line else 200)
    return Answer(http, [JSON], msgspec.json.encode(body), "" if code == OK else code, accepted=taken)


def refused(refusal: Refusal) -> Answer:
    """The answer to a refused message."""
    return coded(refusal.code, refusal.detail)


def partly(tokens: Sequence[str], illegal: Collection[str], *, status: int | None = None) -> Answer:
    """What comes of a message some of whose tokens are illegal: none, some or all of them."""
    wrong = [token for token in tokens if token in illegal]
    if not wrong:
        return coded(OK, status=status)
    if len(wrong) == len(tokens):
        return coded(ALL_ILLEGAL, status=status)
    text = {"success": len(tokens) - len(wrong), "failure": len(wrong), "illegal_tokens": wrong}
    answer = coded(PARTLY, msgspec.json.encode(text).decode(), status=status)
    return msgspec.structs.replace(answer, refused=frozenset(wrong))


def bare(status: int, body: bytes = b"", content_type: str = "text/html", reason: str = "") -> Answer:
    """What the gateway in front of the service says, without a code."""
    body = body or f"<html><head><title>{status}</title></head><body>{status}</body></html>".encode()
    return Answer(status, [("content-type", content_type)], body, reason or f"HTTP_{status}")


def _request_id() -> str:
    return str(uuid.uuid4().int % 10**24).zfill(24)
