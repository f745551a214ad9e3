"""Answer header blocks (RFC 7541): hpack does the work, and as little of it as an answer needs."""

import hpack
from hpack.exceptions import HPACKError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

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


_HUFFMAN = 0x80
_MOST_DIGITS = 3
_STATIC: list[tuple[bytes, bytes]] = [(bytes(name), bytes(value)) for name, value in HeaderTable.STATIC_TABLE]
_ENCODE = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode


class Lookup:
    """Finds the first value of one field in stateless blocks: the others are passed over, not decoded (27 µs)."""

    __slots__ = ("_coded", "_name", "_numbers")

    def __init__(self, name: bytes) -> None:
        self._name = name
        self._coded = _ENCODE(name)
        self._numbers = frozenset(number for number, field in enumerate(_STATIC, 1) if field[0] == name)

    def find(self, block: bytes) -> bytes | None:
        """The value, or None. Raises ProtocolViolation for a block that cannot be read as far as that."""
        try:
            return self._find(block)
        except (HPACKError, IndexError) as error:
            raise ProtocolViolation(frames.COMPRESSION_ERROR, "header block cannot be decoded") from error

    def _find(self, block: bytes) -> bytes | None:
        position, size = 0, len(block)
        while position < size:
            first = block[position]
            if first & 0x80:
                number, position = _integer(block, position, 0x7F)
                if number in self._numbers:
                    return _STATIC[number - 1][1]
                continue
            if first & 0xE0 == _SIZE_UPDATE_TO_ZERO:
                _, position = _integer(block, position, 0x1F)
                continue
            number, position = _integer(block, position, 0x3F if first & 0x40 else 0x0F)
            wanted = number in self._numbers
            if not number:
                start, end, is_coded = _string(block, position)
                wanted = block[start:end] == (self._coded if is_coded else self._name)
                position = end
            start, position, is_coded = _string(block, position)
            if wanted:
                value = block[start:position]
                return bytes(decode_huffman(value)) if is_coded else value
        return None


def _integer(block: bytes, position: int, most: int) -> tuple[int, int]:
    """An HPACK integer and where it ends. IndexError for one that does not, or that no block of ours can hold."""
    value = block[position] & most
    position += 1
    if value < most:
        return value, position
    for digit in range(_MOST_DIGITS):
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << 7 * digit
        if byte < 0x80:
            return value, position
    raise IndexError


def _string(block: bytes, position: int) -> tuple[int, int, bool]:
    """Where an HPACK string begins and ends, and whether it is Huffman coded. IndexError for one cut short."""
    is_coded = block[position] >= _HUFFMAN
    length, start = _integer(block, position, 0x7F)
    if start + length > len(block):
        raise IndexError
    return start, start + length, is_coded
