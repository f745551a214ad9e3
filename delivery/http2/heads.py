"""Request header blocks: the repeated fields through the peer's HPACK table (RFC 7541), encoded once a connection."""

from collections import deque

from hpack.table import HeaderTable as _Static

from .group import Head

_STATIC_NAMES = {name: i for i, (name, _) in reversed(list(enumerate(_Static.STATIC_TABLE, 1)))}
_SCHEMES = {b"https": b"\x87", b"http": b"\x86"}
_METHOD_POST = b"\x83"
_ENTRY_OVERHEAD = 32
_FIRST_DYNAMIC = 62
_TEMPLATES_KEPT = 64
_DEFAULT_TABLE = 4096


def integer(value: int, bits: int, first: int) -> bytes:
    """An HPACK integer with a prefix of `bits`, below the flags in `first`."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    out = bytearray((first | most,))
    value -= most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(value: bytes) -> bytes:
    """An HPACK string, not Huffman coded: tokens and ids gain little, and time is what we lack."""
    return integer(len(value), 7, 0) + value


class Template:
    """A header block with two gaps: `before`, length and rest of :path, `after`, length and value of the id field."""

    __slots__ = ("after", "before", "path")

    def __init__(self, before: bytes, path: bytes, after: bytes) -> None:
        self.before = before
        self.path = path
        self.after = after

    def fit(self, path_size: int, id_size: int | None) -> tuple[int, bytes, bytes]:
        """For values of these sizes: size of the whole block, all bytes before the path's rest, all between the gaps.

        `id_size` None means that the head has no id field.
        """
        before = self.before + integer(len(self.path) + path_size, 7, 0) + self.path
        after = self.after if id_size is None else self.after + integer(id_size, 7, 0)
        return len(before) + path_size + len(after) + (id_size or 0), before, after


class HeadEncoder:
    """One connection's HPACK encoder: what is in the peer's dynamic table, and a template for each Head in use."""

    __slots__ = ("_count", "_entries", "_limit", "_names", "_numbers", "_shrunk", "_size", "_templates")

    def __init__(self) -> None:
        self._entries: deque[tuple[bytes, bytes]] = deque()
        self._numbers: dict[tuple[bytes, bytes], int] = {}
        self._names: dict[bytes, int] = {}
        self._count = 0
        self._size = 0
        self._limit = _DEFAULT_TABLE
        self._shrunk = False
        self._templates: dict[Head, tuple[int, Template]] = {}

    def resize(self, limit: int) -> None:
        """Obey the peer's SETTINGS_HEADER_TABLE_SIZE. We only ever shrink: growing is allowed, not demanded."""
        if limit >= self._limit:
            return
        self._limit = limit
        self._shrunk = True
        self._make_room(0)
        self._templates.clear()

    def template(self, head: Head, first_id: bytes) -> tuple[Template, bool]:
        """The template for the next request of `head`, and whether it serves for one request only.

        It serves one only when it brings fields into the peer's table; `first_id` is that request's id value.
        """
        known = self._templates.get(head)
        if known is not None and known[0] == self._count and not self._shrunk:
            return known[1], False
        count, shrunk = self._count, self._shrunk
        opening = self._build(head, first_id, True)
        self._shrunk = False
        once = self._count != count or shrunk
        lasting = self._build(head, b"", False) if once else opening
        if len(self._templates) >= _TEMPLATES_KEPT:
            del self._templates[next(iter(self._templates))]
        self._templates[head] = (self._count, lasting)
        return opening, once

    def _build(self, head: Head, first_id: bytes, insert: bool) -> Template:
        before = integer(self._limit, 5, 0x20) if self._shrunk else b""
        before += _METHOD_POST + _SCHEMES[head.scheme] + self._field(b":authority", head.authority, insert)
        after = b"".join([self._field(name, value, insert) for name, value in head.fields])
        for name, value in head.own_fields:
            after += self._field(name, value, insert and name not in self._names)
        if head.id_name is not None:
            after += self._name(head.id_name, first_id, insert and head.id_name not in self._names)
        return Template(before + b"\x04", head.path, after)

    def _field(self, name: bytes, value: bytes, insert: bool) -> bytes:
        """Indexed if the table has it, else literal, entering the table if `insert` and it fits."""
        number = self._numbers.get((name, value))
        if number is not None:
            return integer(self._index(number), 7, 0x80)
        return self._name(name, value, insert) + string(value)

    def _name(self, name: bytes, value: bytes, insert: bool) -> bytes:
        """The beginning of a literal, up to its value: `value` matters only for the size of the new entry."""
        named = self._names.get(name)
        index = _STATIC_NAMES.get(name) or (self._index(named) if named is not None else 0)
        entering = insert and self._enter(name, value)
        first = integer(index, 6, 0x40) if entering else integer(index, 4, 0)
        return first if index else first + string(name)

    def _index(self, number: int) -> int:
        return _FIRST_DYNAMIC + self._count - 1 - number

    def _enter(self, name: bytes, value: bytes) -> bool:
        size = len(name) + len(value) + _ENTRY_OVERHEAD
        if size > self._limit:
            return False
        self._make_room(size)
        self._entries.append((name, value))
        self._numbers[name, value] = self._names[name] = self._count
        self._count += 1
        self._size += size
        return True

    def _make_room(self, size: int) -> None:
        """Forget the oldest entries, as the peer's table does when something new comes in."""
        while self._entries and self._size + size > self._limit:
            name, value = self._entries.popleft()
            self._size -= len(name) + len(value) + _ENTRY_OVERHEAD
            number = self._count - len(self._entries) - 1
            if self._numbers.get((name, value)) == number:
                del self._numbers[name, value]
            if self._names.get(name) == number:
                del self._names[name]
