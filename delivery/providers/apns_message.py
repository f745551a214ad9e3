"""A push rendered for APNs, and the ids that its requests carry (providers.md 1.2)."""

from delivery.batches import Batch
from delivery.http2 import Head
from delivery.providers.apns_payload import ApnsRequest
from delivery.providers.origins import Service

_DEVICE_PATH = b"/3/device/"
_POSITIONS = 1 << 16
_ATTEMPTS = 1 << 6
_SUFFIX_SPACE = 1 << 48


class ApnsMessage:
    """A push rendered for one environment: the payload's bytes as they came, and its header fields.

    The head is built anew when the provider token changes.
    """

    __slots__ = ("_head", "_head_token", "_own_fields", "_shared", "given_id", "payload", "service", "topic_scope")

    def __init__(self, request: ApnsRequest, service: Service, bundle_id: str, expire_at: float | None) -> None:
        self.payload = request.payload
        self.service = service
        self.topic_scope = request.headers.get("apns-topic", "")
        self.given_id = request.headers.get("apns-id", "").encode()
        headers = dict(request.headers)
        headers.pop("apns-id", None)
        headers["apns-topic"] = request.topic(bundle_id)
        headers["apns-push-type"] = request.push_type
        if request.push_type == "background":
            headers.setdefault("apns-priority", "5")
        if expire_at is not None:
            headers.setdefault("apns-expiration", str(int(expire_at)))
        own = ("apns-expiration", "apns-collapse-id")
        self._shared = [(name.encode(), value.encode()) for name, value in headers.items() if name not in own]
        self._own_fields = [(name.encode(), headers[name].encode()) for name in own if name in headers]
        self._head_token: bytes | None = None
        self._head: Head | None = None

    def __repr__(self) -> str:
        return f"ApnsMessage(bytes={len(self.payload)})"

    def head(self, token: bytes) -> Head:
        """The head with this provider token; without one when a certificate speaks for us."""
        if self._head is None or self._head_token != token:
            authorization = [(b"authorization", b"bearer " + token)] if token else []
            self._head = Head(
                self.service.authority,
                self.service.prefix + _DEVICE_PATH,
                [*authorization, *self._shared],
                own_fields=self._own_fields,
                id_name=b"apns-id",
                scheme=self.service.scheme,
            )
            self._head_token = token
        return self._head


def message_ids(batch: Batch, given: bytes = b"") -> list[bytes]:
    """An `apns-id` for each recipient: the push's own UUID with its last 48 bits saying batch, attempt and position.

    The same batch in the same attempt gets the same ids; another attempt gets others, so that an answer is never taken
    for that of an earlier one. A caller's own id serves a batch of one recipient only: APNs wants them unique.
    """
    if given and len(batch.tokens) == 1:
        return [given]
    prefix, first = _prefix(batch.push_id), _first(batch.id, batch.attempt)
    return [b"%b%012x" % (prefix, (first + position) % _SUFFIX_SPACE) for position in range(len(batch.tokens))]


def derived_id(push_id: str, batch_id: int, attempt: int, position: int) -> str:
    """The `apns-id` that a recipient had in this attempt, for where it is not kept because it follows from these."""
    return f"{_prefix(push_id).decode()}{(_first(batch_id, attempt) + position) % _SUFFIX_SPACE:012x}"


def _prefix(push_id: str) -> bytes:
    return push_id[:24].lower().encode()


def _first(batch_id: int, attempt: int) -> int:
    return (batch_id * _ATTEMPTS + attempt % _ATTEMPTS) * _POSITIONS
