"""From the bytes of parameters to a method's typed parameters: everything structural is refused here, as 107.

What msgspec lets through and the store or a renderer would choke on is closed here once for all methods: nesting
without end, NUL characters and halves of surrogate pairs in strings, integers beyond 64 bits.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect as types

from methods.errors import BadRequestError
from methods.method import Method, Params

MAX_DEPTH = 100
_MAX_INT = 2**63 - 1
_MIN_INT = -(2**63)

_ESCAPE = re.compile(
    rb"\\(?:u([dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_MESSAGE = re.compile(r"(?P<text>.*?)(?: - at (?:`key` in )?`\$\.?(?P<path>.*)`)?", re.DOTALL)
_NAMES = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_QUOTED = re.compile(r"`([^`]*)`")
_FIELD = re.compile(r"Object missing required field `(.*)`")
_NO_CHOICE = "Invalid enum value"
_STEP = re.compile(r"(?P<name>[^.\[\]]+)|\[[^\]]*\]")


def decode(method: Method, body: bytes, *, check_text: bool = True) -> Params:
    """Decode the parameters of a call; BadRequestError says what is wrong and where.

    `check_text=False` is for a method whose parameters hold further calls, each of which is checked by itself.
    """
    try:
        if check_text:
            _check_text(body)
        params = method.decoder.decode(body)
        if _LONG_NUMBER.search(body):
            _check_integers(params)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), method) from None
    except msgspec.DecodeError as error:
        raise BadRequestError(str(error)) from None
    except RecursionError:
        raise too_deep() from None
    return params


def too_deep() -> BadRequestError:
    """The refusal of nesting without end."""
    return BadRequestError(f"nested deeper than {MAX_DEPTH} levels")


def repaired(body: bytes) -> bytes:
    r"""Put `\u0000` for each half of a surrogate pair, which the check of texts refuses.

    msgspec calls a lone half malformed, which would spoil the whole request instead of the call that it is in.
    """
    return _ESCAPE.sub(lambda found: b"\\u0000" if found[2] else found[0], body)


def _check_text(body: bytes) -> None:
    if b"\\u0000" in body and b"\\u0000" in body.replace(b"\\\\", b"--"):
        raise BadRequestError("a string holds a NUL character or half a surrogate pair, which no text may")
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _is_deep(body):
        raise too_deep()


def _is_deep(body: bytes) -> bool:
    """Strip the strings, then the innermost pairs of brackets, level by level, all at the speed of C."""
    segments = body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    brackets = b"".join(segments[::2]).translate(None, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        if not brackets:
            return False
        brackets = brackets.translate(_AS_ONE_KIND).replace(b"[]", b"")
    return bool(brackets)


_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_AS_ONE_KIND = bytes.maketrans(b"{}", b"[]")


def _check_integers(params: Params) -> None:
    for path, value in _leaves(params, ""):
        if isinstance(value, int) and not _MIN_INT <= value <= _MAX_INT:
            raise BadRequestError("an integer must fit into 64 bits", path=path)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, msgspec.Struct):
        members = [(f"{path}.{name}" if path else name, getattr(value, name)) for name in value.__struct_fields__]
    elif isinstance(value, dict):
        members = [(f"{path}[{key}]", member) for key, member in value.items()]
    elif isinstance(value, list):
        members = [(f"{path}[{index}]", member) for index, member in enumerate(value)]
    else:
        yield path, value
        return
    for name, member in members:
        yield from _leaves(member, name)


def _refusal(text: str, method: Method) -> BadRequestError:
    found = _MESSAGE.fullmatch(text)
    said, path = (found["text"], found["path"] or "") if found else (text, "")
    if missing := _FIELD.fullmatch(said):
        return _required(f"{path}.{missing[1]}" if path else missing[1])
    if said.endswith(", got `null`") and path and not path.endswith("]"):
        return _required(path)
    if said.startswith(_NO_CHOICE):
        if choices := _choices(method, path):
            said += f"; expected {_one_of(choices)}"
        return BadRequestError(said[:1].lower() + said[1:], path=path)
    words = _QUOTED.sub(lambda quoted: _named(quoted[1]), said)
    return BadRequestError(words[:1].lower() + words[1:], path=path)


def _one_of(choices: list[str]) -> str:
    return f"{', '.join(choices[:-1])} or {choices[-1]}" if len(choices) > 1 else choices[0]


def _choices(method: Method, path: str) -> list[str]:
    """Return the values that the type declared at this path takes."""
    kinds = [types.type_info(method.params)]
    for step in _STEP.finditer(path):
        kinds = [each for kind in kinds for held in _held(kind, step["name"]) for each in _plain(held)]
    return [str(value) for kind in kinds if isinstance(kind, types.LiteralType) for value in kind.values]


def _held(kind: types.Type, name: str | None) -> list[types.Type]:
    """Return the type of the member of this name, or of the items when there is none; nothing when there is no such."""
    if isinstance(kind, types.StructType) and name:
        return [field.type for field in kind.fields if field.encode_name == name]
    if isinstance(kind, types.DictType) and not name:
        return [kind.value_type]
    return [kind.item_type] if isinstance(kind, types.ListType) and not name else []


def _plain(kind: types.Type) -> list[types.Type]:
    """Return the type without its annotations; for a union its alternatives."""
    if isinstance(kind, types.Metadata):
        return _plain(kind.type)
    return [each for one in kind.types for each in _plain(one)] if isinstance(kind, types.UnionType) else [kind]


def _named(kind: str) -> str:
    """Say a type of JSON in words; null is not mentioned beside others, because it means absent."""
    parts = kind.split(" | ")
    return " or ".join(_NAMES.get(part, part) for part in parts if part != "null" or len(parts) == 1)


def _required(path: str) -> BadRequestError:
    return BadRequestError(f"{path.rpartition('.')[2]} is required", path=path)
