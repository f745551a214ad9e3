"""Answer header blocks (RFC 7541): hpack does the work, and as little of it as an answer needs."""

import hpack
from hpack.exceptions import HPACKError

from . import frames
from .errors import ProtocolViolation

Fields = list[tuple[bytes, bytes]]

_STATUSES = dict(zip(range(0x88, 0x8F), (200, 204, 206, 304, 400, 404, 500), strict=True))
"""Whole `:status` fields of the static table."""
_STATUS_NAMES = frozenset((0x08, 0x18, 0x48))
"""First bytes of a literal whose name is `:status` of the static table."""
_SIZE_UPDATE_TO_ZERO = 0x20


class MalformedAnswer(Exception):
    """An answer that is no valid response; it costs its stream only."""


def stateful_decoder() -> hpack.Decoder:
    """For blocks that came before the peer acknowledged our header table of size 0."""
    return hpack.Decoder(frames.HEADER_LIST_LIMIT)


def stateless_decoder() -> hpack.Decoder:
    """For blocks after that: they stand for themselves."""
    decoder = stateful_decoder()
    decoder.header_table_size = decoder.max_allowed_table_size = 0
    return decoder


def decode(decoder: hpack.Decoder, block: bytes) -> Fields:
    """All fields of a block, pseudo fields too. Raises ProtocolViolation."""
    try:
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
    except (HPACKError, IndexError, ValueError) as error:
        raise ProtocolViolation(frames.COMPRESSION_ERROR, "header block cannot be decoded") from error


def status_of(fields: Fields) -> int:
    """The status of an answer. Raises MalformedAnswer unless there is exactly one."""
    values = [value for name, value in fields if name == b":status"]
    if len(values) != 1 or len(values[0]) != 3 or not values[0].isdigit():
        raise MalformedAnswer
    return int(values[0])


def regular(fields: Fields) -> Fields:
    """Without pseudo fields."""
    return [field for field in fields if not field[0].startswith(b":")]


class StatusReader:
    """Reads the status off the beginning of a stateless block, so that the rest need not be decoded (20 µs)."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}

    def read(self, block: bytes) -> int | None:
        """The status, or None if the block does not begin in a usual way."""
        start = 1 if block[:1] == bytes((_SIZE_UPDATE_TO_ZERO,)) else 0
        first = block[start] if len(block) > start + 1 else 0
        if first in _STATUSES:
            return _STATUSES[first]
        size = block[start + 1] & 0x7F if first in _STATUS_NAMES else 0
        if not 0 < size <= 3:
            return None
        field = block[start : start + 2 + size]
        status = self._known.get(field)
        return self._learn(field) if status is None else status

    def _learn(self, field: bytes) -> int | None:
        """Decode a status for the first time; there are no more than a few thousand ways to write one."""
        try:
            self._known[field] = status_of(decode(stateless_decoder(), field))
        except (ProtocolViolation, MalformedAnswer):
            return None
        return self._known[field]
