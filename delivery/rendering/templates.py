"""Compiles a payload with templates in its strings, once per push, and renders it for each recipient.

Only strings that hold `{{` are ever decoded; everything around them is passed on byte for byte, and what is put into
them is escaped, so that no value can change the JSON around it. Keys are never templates. A string that is JSON text
itself, as the data of an HMS message, is looked into: values are escaped for both.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from delivery.rendering.expressions import Expression, TemplateError, pieces
from delivery.rendering.values import Read, Scalar, Values, Variable

__all__ = ["RenderError", "Scalar", "Template", "TemplateError", "Values", "compile_payload"]

MOST_EXPRESSIONS = 200  # of one payload
MOST_RENDERED_BYTES = 65_536  # that the expressions of one payload may put into it

_BRACES = re.compile(rb"\{\{|\\u007[bB]")
_TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],]', re.DOTALL)
_PLAIN_KEY = re.compile(r"[\w-]{1,40}")
_NOBODY: Final = Values()
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


class RenderError(Exception):
    """A payload that cannot be rendered for this recipient; the push goes on without it.

    `reason` is TemplateValueMissing or RenderedTooLarge; `detail` names variables, never what they say.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Hole(NamedTuple):
    """A place for what an expression says; `inner` when it is in JSON text that is a string itself."""

    expression: Expression
    inner: bool


class Template:
    """A compiled payload.

    `needs` are the values that it needs, of device.id, device.user, device.meta, l10n, receipt_token, push.uid and
    vars; `l10n_names` the names of l10n that it uses. When it is `static`, there is nothing to render.
    """

    __slots__ = ("_holes", "_inner", "_parts", "_variables", "l10n_names", "needs", "static")

    def __init__(self, parts: list[bytes | Hole], static: bool) -> None:
        self.static = static
        self._parts = [b"" if isinstance(part, Hole) else part for part in parts]
        holes = [(place, part) for place, part in enumerate(parts) if isinstance(part, Hole)]
        self._holes: list[tuple[int, Read, tuple[Variable, ...]]] = [
            (place, part.expression.read, part.expression.variables) for place, part in holes
        ]
        self._inner = [place for place, part in holes if part.inner]
        used = {(one.needs, one.key): one for _, _, variables in self._holes for one in variables}
        self._variables = tuple(one.read for one in used.values())
        self.needs = frozenset(needs for needs, _ in used)
        self.l10n_names = frozenset(key for needs, key in used if needs == "l10n")

    @property
    def outline(self) -> bytes:
        """The payload with nothing in place of its expressions."""
        return b"".join(self._parts)

    def render(self, values: Values) -> bytes:
        """The payload for one recipient; raises RenderError."""
        parts = self._parts.copy()
        room = MOST_RENDERED_BYTES
        for place, read, variables in self._holes:
            text = read(values)
            if text is None:
                raise RenderError("TemplateValueMissing", f"no value for {' or '.join(one.name for one in variables)}")
            parts[place] = piece = escaped(text)
            room -= len(piece)
            if room < 0:
                raise RenderError("RenderedTooLarge", f"templates rendered to more than {MOST_RENDERED_BYTES:,} bytes")
        for place in self._inner:
            parts[place] = escaped(parts[place].decode())
        return b"".join(parts)

    def key(self, values: Values) -> tuple[str | None, ...]:
        """All that a rendering depends on: for equal keys, `render` gives equal bytes or raises the same error."""
        return tuple([read(values) for read in self._variables])


def compile_payload(payload: bytes, path: str = "notification") -> Template:
    """Compile the templates in the strings of a payload; TemplateError with its place below `path`."""
    _check(payload, path)
    if not _BRACES.search(payload):
        return Template([payload], static=True)
    parts = list(_Compiler().parts(payload, path))
    return Template(_joined(parts), static=len(parts) == 1)


def escaped(text: str) -> bytes:
    """The text as it stands between the quotes of a JSON string; half a surrogate pair becomes U+FFFD."""
    try:
        return _encode(text)[1:-1]
    except UnicodeEncodeError:
        return _encode(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))[1:-1]


def _check(payload: bytes, path: str) -> None:
    try:
        _decode_raw(payload)
        payload.decode()  # which a Raw does not look at
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise TemplateError("not well-formed JSON", path) from None
    except RecursionError:
        raise TemplateError("nested too deeply", path) from None


class _Compiler:
    """Takes a payload apart; counts the expressions on the way."""

    def __init__(self) -> None:
        self._expressions = 0

    def parts(self, payload: bytes, path: str, *, inner: bool = False) -> Iterator[bytes | Hole]:
        """The parts of a payload, or of the JSON text in a string of it."""
        done = 0
        for start, end, text, where in _templated(payload, path):
            yield payload[done : start + 1]
            yield from self._of_string(text, where, inner=inner)
            done = end - 1
        yield payload[done:]

    def _of_string(self, text: str, where: str, *, inner: bool) -> Iterator[bytes | Hole]:
        if not inner and _is_json(text):
            for part in self.parts(text.encode(), where, inner=True):
                yield part if isinstance(part, Hole) else escaped(part.decode())
            return
        try:
            yield from self._pieces(text, inner=inner)
        except TemplateError as error:
            error.path = where
            raise

    def _pieces(self, text: str, *, inner: bool) -> Iterator[bytes | Hole]:
        """The pieces as they will be joined; an expression of literals alone is rendered here."""
        for piece in pieces(text):
            if isinstance(piece, str):
                yield escaped(piece)
                continue
            self._expressions += 1
            if self._expressions > MOST_EXPRESSIONS:
                raise TemplateError(f"more than {MOST_EXPRESSIONS} expressions in a payload")
            yield Hole(piece, inner) if piece.variables else escaped(piece.read(_NOBODY) or "")


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        _decode_raw(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return True


def _joined(parts: list[bytes | Hole]) -> list[bytes | Hole]:
    """The same with neighbouring bytes in one piece."""
    joined: list[bytes | Hole] = []
    plain: list[bytes] = []
    for part in parts:
        if isinstance(part, Hole):
            joined += [b"".join(plain), part]
            plain = []
        else:
            plain.append(part)
    return [*joined, b"".join(plain)]


def _templated(payload: bytes, path: str) -> Iterator[tuple[int, int, str, str]]:
    """The strings that hold `{{`: where each begins and ends, quotes included, what it says, and its path."""
    for start, end, place in _strings(payload):
        if _BRACES.search(payload, start, end):
            text = _decode_text(payload[start:end])
            if "{{" in text:
                yield start, end, text, path + "".join(map(_step, place))


def _strings(payload: bytes) -> Iterator[tuple[int, int, list[bytes | int]]]:
    """Every string value of well-formed JSON: where it begins and ends, and the keys and indexes that lead to it.

    The list is one and the same all the way: it is right until the next string is asked for.
    """
    place: list[bytes | int] = []
    key_next = False
    for match in _TOKENS.finditer(payload):
        token = match[0]
        if token[0] == 0x22:  # a quote
            if not key_next:
                yield match.start(), match.end(), place
            else:
                place[-1] = token
        elif token == b"," and isinstance(index := place[-1], int):
            place[-1] = index + 1
        elif token in b"{[":
            place.append(b'""' if token == b"{" else 0)
        elif token in b"}]":
            place.pop()
        key_next = token == b"{" or (token == b"," and isinstance(place[-1], bytes))


def _step(step: bytes | int) -> str:
    """One key or index as paths show it."""
    if isinstance(step, int):
        return f"[{step}]"
    key = _decode_text(step)
    if _PLAIN_KEY.fullmatch(key):
        return f".{key}"
    return f"[{escaped(key[:40]).decode()!r}]"
