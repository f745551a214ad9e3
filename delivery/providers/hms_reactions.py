"""What each answer of HMS Push Kit asks of us, by the `code` in its body whatever the HTTP status (providers.md 4.2).

Source: https://developer.huawei.com/consumer/en/doc/HMSCore-References/https-send-api-0000001050986197
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from delivery.outcomes import Kind
from delivery.providers.reactions import Again, Pausing, Reaction, unlisted

SERVER_BACKOFF_SECONDS = 10.0
FLOW_BACKOFF_SECONDS = 10.0

OK = "80000000"
PARTLY = "80100000"
NO_TOKEN_IS_VALID = "80300007"
TOO_MANY_TOKENS = "80300010"
NOT_ENTITLED_TO_HIGH = "80300011"

ILLEGAL_TOKEN = "illegal_tokens"
"""The reason of a token that an answer names while it takes others of the same request: it is about the token."""

_FAIL = Reaction(Kind.FAILED)
_STRANGE = Reaction(Kind.FAILED, alarm=True)
_LATER = Reaction(Kind.RETRY, backoff_base_seconds=SERVER_BACKOFF_SECONDS)
_PAUSE = Reaction(Kind.RETRY, pausing=Pausing.CREDENTIAL, alarm=True)
_RENEW = Reaction(Kind.RETRY, again=Again.RENEWED, pausing=Pausing.CREDENTIAL, alarm=True)
_FLOW = Reaction(Kind.RETRY, pausing=Pausing.THROTTLE, backoff_base_seconds=FLOW_BACKOFF_SECONDS)

TABLE: Mapping[str, Reaction] = MappingProxyType(
    {
        NO_TOKEN_IS_VALID: Reaction(Kind.DEAD),  # or all are of another app: the breaker judges, see hms.py
        "80200001": _RENEW,
        "80200003": _RENEW,
        "80200005": _RENEW,
        "80300036": _RENEW,
        "80300002": _PAUSE,
        "80300037": _PAUSE,
        NOT_ENTITLED_TO_HIGH: _FAIL,
        "80100001": _FAIL,
        "80100003": _FAIL,
        "80100004": _FAIL,
        "80100013": _FAIL,
        "80100016": _FAIL,
        "80100017": _FAIL,
        "80100022": _FAIL,
        "80300008": _FAIL,
        TOO_MANY_TOKENS: _FAIL,  # of a request that cannot be split
        "80300029": _FAIL,
        "80300030": _FAIL,
        "80600003": _LATER,
        "81000001": _LATER,
    }
)
"""By code. Beside these: `OK`, and `PARTLY`, of which each recipient has its own outcome."""

FAMILIES: Mapping[str, Reaction] = MappingProxyType({"801": _STRANGE, "802": _RENEW, "803": _STRANGE})
"""By the first three digits, for a code that is not in the table: message, authorisation, request."""

STATUSES: Mapping[int, Reaction] = MappingProxyType(
    {
        400: _FAIL,
        401: _RENEW,
        403: _PAUSE,
        404: _PAUSE,  # the URL or the app's id in it: no message is at fault
        429: _FLOW,
        500: _LATER,
        502: _LATER,
        503: _FLOW,
        504: _LATER,
    }
)
"""By HTTP status, for an answer without a code."""

_CODE = re.compile(r"[0-9]{1,16}", re.ASCII)
_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Said(msgspec.Struct, frozen=True):
    """What an answer says. `code` is '' where it has none, `request_id` b'' likewise."""

    code: str = ""
    request_id: bytes = b""
    text: str = ""

    def __repr__(self) -> str:
        return f"Said(code={self.code!r})"


class _Body(msgspec.Struct):
    code: str | int = ""
    msg: Any = ""
    requestId: str | int = ""


class _Partly(msgspec.Struct):
    illegal_tokens: list[str] = []


_DECODER = msgspec.json.Decoder(_Body)
_PARTLY_DECODER = msgspec.json.Decoder(_Partly)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_answer(body: bytes) -> Said:
    """Read an answer's body, which may be no JSON at all."""
    try:
        found = _DECODER.decode(body)
    except _UNREADABLE:
        return Said()
    code, request_id = str(found.code), str(found.requestId)
    return Said(
        code if _CODE.fullmatch(code) else "",
        request_id.encode() if _ID.fullmatch(request_id) else b"",
        found.msg if isinstance(found.msg, str) else "",
    )


def illegal_tokens(text: str) -> frozenset[bytes] | None:
    """The tokens that the `msg` of a partial success names; None when it cannot be read."""
    try:
        return frozenset(token.encode() for token in _PARTLY_DECODER.decode(text).illegal_tokens)
    except _UNREADABLE:
        return None


def reaction(code: str, status: int) -> Reaction:
    """What follows from an answer: by its code, else by the code's family, else by the HTTP status."""
    return TABLE.get(code) or FAMILIES.get(code[:3]) or STATUSES.get(status) or unlisted(status)
