"""What a company's own API is sent: the payload of the push, and whom it is for."""

import hashlib
from collections.abc import Sequence

import msgspec

from delivery.batches import Batch
from delivery.providers.contract import PayloadError
from delivery.providers.lazy_bodies import LazyBodies

_PATH = "notification.webhook"


class WebhookMessage:
    """A payload, byte for byte as it was given or built."""

    __slots__ = ("payload",)

    def __init__(self, payload: msgspec.Raw) -> None:
        self.payload = payload

    def __repr__(self) -> str:
        return "WebhookMessage()"


class _Member(msgspec.Struct, forbid_unknown_fields=True):
    payload: msgspec.Raw


class _Recipient(msgspec.Struct, omit_defaults=True):
    token: str
    id: str
    device_id: str = ""


class _One(msgspec.Struct, omit_defaults=True, kw_only=True):
    push: str = ""
    recipient: _Recipient
    device_id: str = ""
    payload: msgspec.Raw


class _Many(msgspec.Struct, omit_defaults=True, kw_only=True):
    push: str = ""
    recipients: list[_Recipient]
    payload: msgspec.Raw


_DECODER = msgspec.json.Decoder(_Member)


def read(raw: bytes) -> WebhookMessage:
    """Read the member `notification.webhook`; PayloadError unless it is {"payload": …} and nothing else."""
    try:
        member = _DECODER.decode(raw)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$")
        raise PayloadError(text.replace("`", ""), _PATH + where.rstrip("`")) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise PayloadError("not well-formed JSON", _PATH) from None
    if bytes(member.payload) == b"null":
        raise PayloadError("a payload is expected", f"{_PATH}.payload")
    return WebhookMessage(member.payload.copy())


def recipient_ids(batch: Batch) -> list[str]:
    """The name of each recipient's message: the same whenever it is sent, so that a receiver can drop repeats.

    One token may belong to devices of several accounts, each of which gets its own message.
    """
    start = hashlib.sha256(batch.push_id.encode() + b"\0")
    found = []
    for position, token in enumerate(batch.tokens):
        digest = start.copy()
        digest.update(batch.device_id(position).encode() + b"\0" + token)
        found.append(digest.hexdigest()[:32])
    return found


def request_id(ids: Sequence[str]) -> str:
    """The name of a request with these recipients; with one alone it is its own."""
    return ids[0] if len(ids) == 1 else hashlib.sha256("".join(ids).encode()).hexdigest()[:32]


def parts_of(count: int, size: int, each: Sequence[WebhookMessage] | None) -> list[list[int]]:
    """The recipients, by position, that share a request: at most `size`, and of one message."""
    same: dict[int, list[int]] = {}
    for position in range(count):
        same.setdefault(0 if each is None else id(each[position]), []).append(position)
    return [found[start : start + size] for found in same.values() for start in range(0, len(found), size)]


class Bodies(LazyBodies):
    """The bodies of a batch's requests, each made when it is asked for: payloads are large, and most wait."""

    def __init__(
        self, batch: Batch, parts: list[list[int]], ids: list[str], messages: Sequence[WebhookMessage], *, many: bool
    ) -> None:
        super().__init__(parts)
        self._batch = batch
        self._ids = ids
        self._messages = messages
        self._many = many

    def __repr__(self) -> str:
        return f"<Bodies of {len(self)} requests>"

    def made(self, part: list[int]) -> bytes:
        """Make the body of the request for these recipients."""
        payload = self._messages[part[0] if len(self._messages) > 1 else 0].payload
        if self._many:
            recipients = [self._recipient(position, self._batch.device_id(position)) for position in part]
            return msgspec.json.encode(_Many(push=self._batch.uid, recipients=recipients, payload=payload))
        (position,) = part
        recipient = self._recipient(position)
        device_id = self._batch.device_id(position)
        return msgspec.json.encode(
            _One(push=self._batch.uid, recipient=recipient, device_id=device_id, payload=payload)
        )

    def _recipient(self, position: int, device_id: str = "") -> _Recipient:
        return _Recipient(self._batch.tokens[position].decode(), self._ids[position], device_id)
