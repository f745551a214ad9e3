"""What can go wrong with a request or a connection, in words the engine can act on."""

import enum

import msgspec


class FailureKind(enum.Enum):
    """How much is known about a request that got no answer."""

    NOT_SENT = "not_sent"
    """Never given to a connection as a whole: certainly not processed, safe to send again."""
    REFUSED = "refused"
    """The peer said that it did not process it (REFUSED_STREAM, or above GOAWAY's last stream): safe to send again."""
    UNKNOWN = "unknown"
    """Written, and no answer came (timeout, lost connection, other reset): sending again may duplicate."""
    EXPIRED = "expired"
    """Not written before the group's `expires_at`."""


class Failure(msgspec.Struct, frozen=True):
    """Why a request got no answer. `reason` is a short text without secrets, fit for logs and for the API."""

    kind: FailureKind
    reason: str


class ConnectFailed(Exception):
    """No usable connection to the origin; the text says why, without secrets."""


class AddressRefused(ConnectFailed):
    """The address guard refused an address that the origin resolved to."""


class ProtocolViolation(Exception):
    """The peer broke HTTP/2: the connection ends with GOAWAY `code` (RFC 9113, section 7)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
