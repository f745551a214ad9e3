"""What each answer of APNs asks of us (providers.md 1.6).

Source: https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns
"""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from delivery.outcomes import Kind
from delivery.providers.reactions import Again, Pausing, Reaction, unlisted

_FAIL = Reaction(Kind.FAILED)
_DEAD = Reaction(Kind.DEAD)
_RETRY = Reaction(Kind.RETRY)
_PAUSE = Reaction(Kind.RETRY, pausing=Pausing.CREDENTIAL, alarm=True)

TABLE: Mapping[tuple[int, str], Reaction] = MappingProxyType(
    {
        # The other environment is tried once by the settlement, where another credential serves it.
        (400, "BadDeviceToken"): _DEAD,
        # The token is another app's: this one lets go of it, until its credential changes.
        (400, "DeviceTokenNotForTopic"): Reaction(Kind.DEAD, alarm=True),
        (400, "BadCollapseId"): _FAIL,
        (400, "BadExpirationDate"): _FAIL,
        (400, "BadMessageId"): _FAIL,
        (400, "BadPriority"): _FAIL,
        (400, "BadTopic"): _FAIL,
        (400, "InvalidPushType"): _FAIL,
        (400, "DuplicateHeaders"): _FAIL,
        (400, "MissingDeviceToken"): _FAIL,
        (400, "MissingTopic"): _FAIL,
        (400, "PayloadEmpty"): _FAIL,
        (400, "TopicDisallowed"): Reaction(Kind.RETRY, pausing=Pausing.TOPIC, alarm=True),
        (400, "IdleTimeout"): Reaction(Kind.RETRY, again=Again.ELSEWHERE, new_connection=True),
        (403, "ExpiredProviderToken"): Reaction(
            Kind.RETRY, again=Again.RENEWED, pausing=Pausing.CREDENTIAL, new_connection=True, alarm=True
        ),
        (403, "InvalidProviderToken"): _PAUSE,
        (403, "MissingProviderToken"): _PAUSE,
        (403, "BadCertificate"): _PAUSE,
        (403, "BadCertificateEnvironment"): _PAUSE,
        (403, "Forbidden"): _PAUSE,
        (403, "BadEnvironmentKeyIdInToken"): _PAUSE,
        (403, "BadEnvironmentKeyInToken"): _PAUSE,
        (403, "UnrelatedKeyIdInToken"): Reaction(
            Kind.RETRY, again=Again.ELSEWHERE, pausing=Pausing.CREDENTIAL, new_connection=True, alarm=True
        ),
        (404, "BadPath"): _FAIL,
        (405, "MethodNotAllowed"): _FAIL,
        (410, "Unregistered"): _DEAD,
        (410, "ExpiredToken"): _DEAD,
        (413, "PayloadTooLarge"): _FAIL,
        (429, "TooManyRequests"): _RETRY,
        (429, "TooManyProviderTokenUpdates"): Reaction(Kind.RETRY, new_connection=True, keep_token=True, alarm=True),
        (500, "InternalServerError"): _RETRY,
        (503, "ServiceUnavailable"): _RETRY,
        (503, "Shutdown"): Reaction(Kind.RETRY, again=Again.ELSEWHERE, new_connection=True),
        # Without a reason that can be read the status alone speaks, where it leaves no doubt; no message and no token
        # is lost to a gateway that answers in Apple's place.
        (403, ""): _PAUSE,
        (410, ""): _DEAD,
        (429, ""): _RETRY,
        (500, ""): _RETRY,
        (503, ""): _RETRY,
    }
)


class Refusal(msgspec.Struct, frozen=True):
    """The body of an answer that is not 200. `timestamp` (milliseconds) comes with 410."""

    reason: str = ""
    timestamp: float | None = None


_NOTHING = Refusal()
_DECODER = msgspec.json.Decoder(Refusal)
_MAX_REASON = 64


def read_refusal(body: bytes) -> Refusal:
    """Read an answer's body; one that is not Apple's JSON reads as saying nothing."""
    try:
        refusal = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _NOTHING
    return refusal if len(refusal.reason) <= _MAX_REASON and refusal.reason.isalnum() else _NOTHING


def reaction(status: int, reason: str) -> Reaction:
    """The row for an answer."""
    return TABLE.get((status, reason)) or unlisted(status)
