"""As much of the protobuf wire format as a browser's push connection needs: varints, fixed 64-bit numbers, bytes.

Source: https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterable

Value = int | str | bytes
Fields = dict[int, list[int | bytes]]

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class Fixed64(int):
    """A number that is written in eight bytes, whatever it is."""


def varint(number: int) -> bytes:
    """Write a number that is not negative, seven bits a byte, the lowest first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def encode(fields: Iterable[tuple[int, Value]]) -> bytes:
    """Write a message: numbers of fields and their values, in this order; a repeated field is given repeatedly."""
    return b"".join(_field(number, value) for number, value in fields)


def decode(message: bytes) -> Fields:
    """Read a message: the values by field; nested messages and texts stay bytes. ValueError when it is malformed."""
    fields: Fields = {}
    place = 0
    while place < len(message):
        key, place = _read_varint(message, place)
        value, place = _read_value(message, place, key & 7)
        fields.setdefault(key >> 3, []).append(value)
    return fields


def text(fields: Fields, number: int) -> str:
    """The first value of a field as a text, '' without one."""
    found = fields.get(number, [b""])[0]
    return found.decode() if isinstance(found, bytes) else str(found)


def _field(number: int, value: Value) -> bytes:
    if isinstance(value, Fixed64):
        return varint(number << 3 | _FIXED64) + value.to_bytes(8, "little")
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | _LENGTH) + varint(len(data)) + data


def _read_varint(message: bytes, place: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        byte = message[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise ValueError("malformed varint")


def _read_value(message: bytes, place: int, wire: int) -> tuple[int | bytes, int]:
    if wire == _VARINT:
        return _read_varint(message, place)
    if wire == _LENGTH:
        length, place = _read_varint(message, place)
    elif wire in {_FIXED64, _FIXED32}:
        length = 8 if wire == _FIXED64 else 4
    else:
        raise ValueError(f"wire type {wire} is not known")
    if place + length > len(message):
        raise ValueError("the message ends within a field")
    data = message[place : place + length]
    return (data if wire == _LENGTH else int.from_bytes(data, "little")), place + length
