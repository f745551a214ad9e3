"""What each answer of a push service asks of us (providers.md 3.2): RFC 8030, and what the large services add to it.

Sources: https://developer.apple.com/documentation/usernotifications/sending-web-push-notifications-in-web-apps-and-browsers
(Apple), https://mozilla-services.github.io/autopush-rs/errors.html (Mozilla),
https://learn.microsoft.com/windows/apps/develop/notifications/push-notifications/push-request-response-headers (WNS).
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from delivery.http2 import Answer
from delivery.outcomes import Kind
from delivery.providers.reactions import Again, Pausing, Reaction, unlisted

SERVER_BACKOFF_SECONDS = 10.0
QUOTA_BACKOFF_SECONDS = 60.0

_FAIL = Reaction(Kind.FAILED)
_BUG = Reaction(Kind.FAILED, alarm=True)
_GONE = Reaction(Kind.DEAD)
_MISMATCH = Reaction(Kind.DEAD, alarm=True)
_OUR_TOKEN = Reaction(Kind.RETRY, pausing=Pausing.PLATFORM, alarm=True)
"""The token itself is refused, as when a clock is a day off: no browser is to blame, and this service alone waits."""
_LATER = Reaction(Kind.RETRY, backoff_base_seconds=SERVER_BACKOFF_SECONDS)
_THROTTLE = Reaction(Kind.RETRY, pausing=Pausing.THROTTLE, backoff_base_seconds=QUOTA_BACKOFF_SECONDS)
_ANY = ""
WNS = "WNS"

TABLE: Mapping[tuple[int, str], Reaction] = MappingProxyType(
    {
        (400, "VapidPkHashMismatch"): _MISMATCH,
        (400, "UnauthorizedRegistration"): _MISMATCH,
        (400, "MismatchSenderId"): _MISMATCH,
        (400, _ANY): _FAIL,
        # the subscription was made with another key, or ours is wrong for all: the share of it tells, see the breaker
        (401, _ANY): _MISMATCH,
        (403, "BadJwtToken"): _OUR_TOKEN,
        (403, "ExpiredJwtToken"): _OUR_TOKEN,
        (403, _ANY): _MISMATCH,
        (404, "BadPath"): _BUG,
        (404, _ANY): _GONE,
        (410, _ANY): _GONE,
        (406, WNS): _THROTTLE,
        (413, _ANY): _FAIL,
        (429, _ANY): _THROTTLE,
        (500, _ANY): _LATER,
        (502, _ANY): _LATER,
        (503, "errno_201"): Reaction(Kind.RETRY, backoff_base_seconds=QUOTA_BACKOFF_SECONDS),
        (503, "errno_202"): Reaction(Kind.RETRY, again=Again.ELSEWHERE, backoff_base_seconds=SERVER_BACKOFF_SECONDS),
        (503, _ANY): _LATER,
        (504, _ANY): _LATER,
        (201, "dropped"): _FAIL,
        (201, "channelthrottled"): Reaction(Kind.RETRY, backoff_base_seconds=QUOTA_BACKOFF_SECONDS),
    }
)
"""By status and the service's own word; an empty word is the row for everything else of that status.

Answers of 200 to 299 are one status, 201. What WNS says in `X-WNS-Status` of one is the word; without such a row it
is accepted.
"""


class Refusal(msgspec.Struct, frozen=True):
    """What an answer says: its row in the table, and the service's word for it."""

    row: str
    reason: str


class _Body(msgspec.Struct):
    reason: str | None = None
    errno: int | None = None


_DECODER = msgspec.json.Decoder(_Body)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_NOT_ACCEPTABLE = 406
_MOST_BODY = 4096
_MOST_NAME = 512
_PHRASES = (
    (b"do not correspond to the credentials", "VapidKeyMismatch"),
    (b"unsubscribed or expired", "Unsubscribed"),
    (b"notregistered", "NotRegistered"),
    (b"unauthorizedregistration", "UnauthorizedRegistration"),
    (b"mismatchsenderid", "MismatchSenderId"),
    (b"invalid jwt", "InvalidJwt"),
)
"""Chrome's push service answers in prose; these are the parts of it that tell one cause from another."""


def is_accepted(status: int) -> bool:
    """Whether the service took the message, if no header says otherwise."""
    return 200 <= status < 300


def read_refusal(answer: Answer, *, windows: bool = False) -> Refusal:
    """Read an answer: Apple's reason, Mozilla's errno, WNS's status, Chrome's prose, else the HTTP status alone.

    `windows`: the service is WNS, which has a word for what it took as well.
    """
    if is_accepted(answer.status):
        word = _wns_status(answer) if windows else ""
        return Refusal(word, word)
    wns = _wns_status(answer) if answer.status == _NOT_ACCEPTABLE else ""
    if wns:
        return Refusal(WNS, wns)
    body = answer.body[:_MOST_BODY]
    word = _word_of(body) if body.lstrip().startswith(b"{") else _phrase_of(body)
    return Refusal(word, word or f"HTTP_{answer.status}")


def reaction(status: int, row: str) -> Reaction | None:
    """The row of the table for an answer; None when it is accepted."""
    if is_accepted(status):
        return TABLE.get((201, row))
    if 300 <= status < 400:
        return _BUG  # a redirect is not followed: who subscribed said where
    return TABLE.get((status, row)) or TABLE.get((status, _ANY)) or unlisted(status)


def message_id(answer: Answer) -> bytes:
    """The service's name for the message: the last part of `Location`, empty when it gives none."""
    location = answer.header(b"location") or b""
    name = location.partition(b"?")[0].rstrip(b"/").rpartition(b"/")[2]
    return name if len(name) <= _MOST_NAME and name.isascii() and name.decode("ascii").isprintable() else b""


def _wns_status(answer: Answer) -> str:
    """What X-WNS-Status says, or X-WNS-NotificationStatus as older services spell it."""
    value = answer.header(b"x-wns-status") or answer.header(b"x-wns-notificationstatus") or b""
    text = value.decode("ascii", "replace").strip().lower()
    return text if _WORD.fullmatch(text) else ""


def _word_of(body: bytes) -> str:
    try:
        said = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    if said.errno is not None:
        return f"errno_{said.errno}" if 0 <= said.errno < 10_000 else ""
    return said.reason if said.reason and _WORD.fullmatch(said.reason) else ""


def _phrase_of(body: bytes) -> str:
    text = body.lower()
    return next((word for phrase, word in _PHRASES if phrase in text), "")
