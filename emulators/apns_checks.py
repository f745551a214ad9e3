"""What APNs refuses, in the order in which it looks: path, token, topic, headers, payload.

Sources: https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns and
…/handling-notification-responses-from-apns. The real order of checks is not documented; this is the order of the mock
servers of pushy and APNSwift.
"""

import re
from collections.abc import Callable, Iterable

import msgspec

from emulators.apns_tokens import ApnsTokens
from emulators.exchange import Request

DEVICE_PATH = "/3/device/"
PAYLOAD_LIMIT = 4096
VOIP_PAYLOAD_LIMIT = 5120
COLLAPSE_ID_LIMIT = 64

STATUSES = {
    "BadCollapseId": 400,
    "BadDeviceToken": 400,
    "BadExpirationDate": 400,
    "BadMessageId": 400,
    "BadPriority": 400,
    "BadTopic": 400,
    "DeviceTokenNotForTopic": 400,
    "DuplicateHeaders": 400,
    "IdleTimeout": 400,
    "InvalidPushType": 400,
    "MissingDeviceToken": 400,
    "MissingTopic": 400,
    "PayloadEmpty": 400,
    "TopicDisallowed": 400,
    "BadChannelId": 400,
    "BadRequestParams": 400,
    "BadRequestPayload": 400,
    "CannotCreateChannelConfig": 400,
    "ChannelNotRegistered": 400,
    "FeatureNotEnabled": 400,
    "MissingChannelId": 400,
    "MissingPushType": 400,
    "BadCertificate": 403,
    "BadCertificateEnvironment": 403,
    "BadEnvironmentKeyIdInToken": 403,
    "BadEnvironmentKeyInToken": 403,
    "ExpiredProviderToken": 403,
    "Forbidden": 403,
    "InvalidProviderToken": 403,
    "MissingProviderToken": 403,
    "TopicMismatch": 403,
    "UnrelatedKeyIdInToken": 403,
    "BadPath": 404,
    "MethodNotAllowed": 405,
    "ExpiredToken": 410,
    "Unregistered": 410,
    "PayloadTooLarge": 413,
    "TooManyProviderTokenUpdates": 429,
    "TooManyRequests": 429,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
    "Shutdown": 503,
}
"""Every reason APNs knows and its status."""

USUAL_REASONS = {
    400: "BadDeviceToken",
    403: "InvalidProviderToken",
    404: "BadPath",
    405: "MethodNotAllowed",
    410: "Unregistered",
    413: "PayloadTooLarge",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable",
}
"""The reason a rule means that gives a status alone."""

TOPIC_SUFFIXES = {
    "alert": "",
    "background": "",
    "mdm": "",
    "voip": ".voip",
    "complication": ".complication",
    "fileprovider": ".pushkit.fileprovider",
    "location": ".location-query",
    "liveactivity": ".push-type.liveactivity",
    "pushtotalk": ".voip-ptt",
    "widgets": ".push-type.widgets",
    "controls": ".push-type.controls",
}
"""Push types and the suffix their topic must end with."""

_TOKEN = re.compile(r"(?:[0-9a-fA-F]{2})+")
_TOPIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_INTEGER = re.compile(r"[0-9]{1,18}")
_SUFFIXES = tuple(sorted(filter(None, TOPIC_SUFFIXES.values()), key=len, reverse=True))


class ApnsRules(msgspec.Struct):
    """What the checks go by: the environment, the topics the credential may use (None: any) and the known tokens."""

    environment: str
    topics: frozenset[str] | None
    tokens: ApnsTokens
    known_tokens_only: bool


def base_topic(topic: str) -> str:
    """The bundle id of a topic: without the suffix of its push type."""
    for suffix in _SUFFIXES:
        if topic.endswith(suffix):
            return topic.removesuffix(suffix)
    return topic


def valid_message_id(text: str) -> bool:
    """Whether this is an apns-id as Apple wants it: a canonical lower-case UUID."""
    return _UUID.fullmatch(text) is not None


def check_device_push(request: Request, rules: ApnsRules, allowed: Iterable[str] | None) -> str | None:
    """The reason to refuse an authenticated push, or None. `allowed` narrows the topics to those of the credential."""
    for check in _REQUEST_CHECKS:
        reason = check(request)
        if reason:
            return reason
    reason = _registry(request, rules) or _topic(request, rules, allowed)
    if reason:
        return reason
    for check in (*HEADER_CHECKS, _payload):
        reason = check(request)
        if reason:
            return reason
    return None


def _method(request: Request) -> str | None:
    return None if request.method == "POST" else "MethodNotAllowed"


def _path(request: Request) -> str | None:
    if not request.path.startswith(DEVICE_PATH) or "/" in request.path.removeprefix(DEVICE_PATH):
        return "BadPath"
    return "DuplicateHeaders" if any(name.startswith("apns-") for name in request.repeated) else None


def _token(request: Request) -> str | None:
    if not request.token:
        return "MissingDeviceToken"
    return None if _TOKEN.fullmatch(request.token) else "BadDeviceToken"


def _registry(request: Request, rules: ApnsRules) -> str | None:
    known = rules.tokens.get(request.token)
    if known is None:
        return "BadDeviceToken" if rules.known_tokens_only else None
    if known.environment not in {None, rules.environment}:
        return "BadDeviceToken"
    return {
        "unregistered": "Unregistered",
        "expired": "ExpiredToken",
        "bad": "BadDeviceToken",
        "not_for_topic": "DeviceTokenNotForTopic",
        "throttled": "TooManyRequests",
    }.get(known.state)


def _topic(request: Request, rules: ApnsRules, allowed: Iterable[str] | None) -> str | None:
    topic = request.headers.get("apns-topic", "")
    if not topic:
        return "MissingTopic"
    if not _TOPIC.fullmatch(topic):
        return "BadTopic"
    base = base_topic(topic)
    if (rules.topics is not None and base not in rules.topics) or (allowed is not None and base not in allowed):
        return "TopicDisallowed"
    known = rules.tokens.get(request.token)
    if known is not None and known.topics is not None and base not in known.topics:
        return "DeviceTokenNotForTopic"
    return None


def _message_id(request: Request) -> str | None:
    given = request.headers.get("apns-id")
    return None if given is None or valid_message_id(given) else "BadMessageId"


def _push_type(request: Request) -> str | None:
    given = request.headers.get("apns-push-type")
    if given is None:
        return None
    suffix = TOPIC_SUFFIXES.get(given)
    if suffix is None:
        return "InvalidPushType"
    topic = request.headers.get("apns-topic", "")
    # Apple names no reason for a topic that does not fit the type; the topic is what is wrong here.
    return None if topic.removeprefix(base_topic(topic)) == suffix else "BadTopic"


def check_priority(request: Request) -> str | None:
    """1, 5 or 10; a background push may not be 10."""
    given = request.headers.get("apns-priority", "")
    if not given:
        return None
    if given not in {"1", "5", "10"}:
        return "BadPriority"
    return "BadPriority" if given == "10" and request.headers.get("apns-push-type") == "background" else None


def check_expiration(request: Request) -> str | None:
    """Seconds since 1970 as digits."""
    given = request.headers.get("apns-expiration")
    return None if given is None or _INTEGER.fullmatch(given) else "BadExpirationDate"


def _collapse_id(request: Request) -> str | None:
    return "BadCollapseId" if len(request.headers.get("apns-collapse-id", "")) > COLLAPSE_ID_LIMIT else None


def _payload(request: Request) -> str | None:
    voip = request.headers.get("apns-push-type") == "voip"
    return check_size(request, VOIP_PAYLOAD_LIMIT if voip else PAYLOAD_LIMIT)


def check_size(request: Request, limit: int) -> str | None:
    """The reason to refuse a body of this size."""
    if not request.body_length:
        return "PayloadEmpty"
    return "PayloadTooLarge" if request.body_length > limit else None


_REQUEST_CHECKS: tuple[Callable[[Request], str | None], ...] = (_method, _path, _token)
HEADER_CHECKS: tuple[Callable[[Request], str | None], ...] = (
    _message_id,
    _push_type,
    check_priority,
    check_expiration,
    _collapse_id,
)
"""Checks of the headers that do not depend on the device, in order."""
