"""What makes the headers and the size of a Web Push acceptable (RFC 8030, RFC 8188), before anybody looks inside.

Source: https://www.rfc-editor.org/rfc/rfc8030#section-5
"""

import re

import msgspec

from emulators.exchange import Request
from emulators.webpush_errors import Refusal, Service

BODY_LIMIT = 4096
MAX_TTL_SECONDS = 30 * 86_400
URGENCIES = ("very-low", "low", "normal", "high")
_TTL = re.compile(r"[0-9]{1,15}")
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
_WNS_CACHE = "x-wns-cache-policy"


class PushHeaders(msgspec.Struct, frozen=True):
    """What a push says of itself. `ttl` is in seconds, at most 30 days."""

    ttl: int
    urgency: str
    topic: str


def read_headers(request: Request, service: Service) -> PushHeaders | Refusal:
    """TTL, urgency and topic, or what is wrong with them."""
    ttl = request.headers.get("ttl")
    if ttl is None:
        return Refusal("ttl_missing", "there is no TTL")
    if not _TTL.fullmatch(ttl) or "ttl" in request.repeated:
        return Refusal("ttl_invalid", "TTL is not a number of seconds")
    if int(ttl) == 0 and (service == "apple" or _clashes(request, service)):
        return Refusal("ttl_invalid", "this service wants a TTL above 0")
    urgency = request.headers.get("urgency", "normal")
    if urgency not in URGENCIES:
        return Refusal("urgency_invalid", f"Urgency is none of {', '.join(URGENCIES)}")
    topic = request.headers.get("topic")
    if topic is not None and not _TOPIC.fullmatch(topic):
        return Refusal("topic_invalid", "Topic is not 1 to 32 characters of base64url")
    return PushHeaders(min(int(ttl), MAX_TTL_SECONDS), urgency, topic or "")


def check_body(request: Request) -> Refusal | None:
    """What is wrong with the encoding or the size of the body; None when nothing is. An empty one needs no encoding."""
    if not request.body_length:
        return None
    if request.headers.get("content-encoding", "").lower() != "aes128gcm":
        return Refusal("encoding_invalid", "Content-Encoding is not aes128gcm")
    if request.body_length > BODY_LIMIT:
        return Refusal("too_large", f"the body is larger than {BODY_LIMIT} bytes")
    return None


def _clashes(request: Request, service: Service) -> bool:
    """Windows caches a notification unless told otherwise, and will not cache it for no time."""
    return service == "wns" and request.headers.get(_WNS_CACHE) != "no-cache"
