"""What the types of a method say, as JSON Schema: for OpenRPC and for the reference in docs/.

msgspec's own generator cannot write down `Raw` members that have a default, and shows every optional member as
"or null"; here null means absent, so an optional member is one that is not required.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import inspect as types

Schema = dict[str, Any]

_LINE = re.compile(r"(\w+): (.*)")
_REFERENCE = "#/components/schemas/"
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_LENGTHS = {types.StrType: "Length", types.ListType: "Items", types.DictType: "Properties"}


class Schemas:
    """Gathers the schemas of structs as they are met; `components` holds them by name."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def of(self, kind: types.Type) -> Schema:
        """Return the schema of a type; a struct becomes a reference to its component."""
        for known, write in _WRITERS:
            if isinstance(kind, known):
                return write(self, kind)
        raise TypeError(f"no schema for {kind!r}")

    def struct(self, kind: types.StructType) -> Schema:
        """Return a reference to a struct's component, written at the first time."""
        name = kind.cls.__name__
        if name not in self.components:
            self.components[name] = {}  # first, so that a struct may hold itself
            self.components[name] = self._component(kind)
        return {"$ref": _REFERENCE + name}

    def _component(self, kind: types.StructType) -> Schema:
        text, told = documented(kind.cls)
        properties = {field.encode_name: self.field(field, told) for field in kind.fields}
        required = [field.encode_name for field in kind.fields if field.required]
        component: Schema = {"type": "object", "properties": properties}
        return component | ({"required": required} if required else {}) | ({"description": text} if text else {})

    def members(self, struct: type[msgspec.Struct]) -> list[tuple[str, bool, Schema]]:
        """Return name, whether it is required, and schema of each member, the required ones first."""
        _, told = documented(struct)
        fields = sorted(fields_of(struct), key=lambda field: not field.required)
        return [(field.encode_name, field.required, self.field(field, told)) for field in fields]

    def field(self, field: types.Field, told: Mapping[str, str]) -> Schema:
        """Return the schema of a member, with its description."""
        schema = self.of(field.type)
        if text := told.get(field.name):
            schema = {"allOf": [schema], "description": text} if "$ref" in schema else {**schema, "description": text}
        return schema


def documented(struct: type[msgspec.Struct]) -> tuple[str, dict[str, str]]:
    """Split a struct's docstring into its text and the description of each member, inherited ones too.

    A member's description is a line `name: text` that begins with the name of a member; lines that are indented
    below it continue it.
    """
    told: dict[str, str] = {}
    for base in reversed(struct.__mro__[1:]):
        if issubclass(base, msgspec.Struct):
            told |= _read(base, struct.__struct_fields__)[1]
    text, own = _read(struct, struct.__struct_fields__)
    return text, told | own


def _read(struct: type[msgspec.Struct], members: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    text: list[str] = []
    told: dict[str, str] = {}
    last = ""
    for line in inspect.cleandoc(struct.__dict__.get("__doc__") or "").splitlines():
        match = _LINE.fullmatch(line)
        if match and match[1] in members:
            last = match[1]
            told[last] = match[2].strip()
        elif last and line.startswith(" "):
            told[last] += " " + line.strip()
        else:
            last = ""
            text.append(line)
    return "\n".join(text).strip(), told


def fields_of(struct: type[msgspec.Struct]) -> tuple[types.Field, ...]:
    """Return the members of a struct."""
    info = types.type_info(struct)
    assert isinstance(info, types.StructType)  # noqa: S101 - by the type of the parameter
    return info.fields


def _union(schemas: Schemas, kind: types.UnionType) -> Schema:
    branches = [schemas.of(each) for each in kind.types if not isinstance(each, types.NoneType)]
    return branches[0] if len(branches) == 1 else {"anyOf": branches}


def _limited(kind: Any, schema: Schema) -> Schema:
    bounds = {word: getattr(kind, name) for name, word in _BOUNDS.items() if getattr(kind, name, None) is not None}
    for known, word in _LENGTHS.items():
        if isinstance(kind, known):
            lengths = {"min" + word: kind.min_length, "max" + word: kind.max_length}
            bounds |= {name: length for name, length in lengths.items() if length is not None}
    if getattr(kind, "pattern", None):
        bounds["pattern"] = kind.pattern
    return schema | bounds


def _simple(name: str) -> Callable[[Schemas, Any], Schema]:
    return lambda schemas, kind: _limited(kind, {"type": name})


_WRITERS: tuple[tuple[type | tuple[type, ...], Callable[[Schemas, Any], Schema]], ...] = (
    (types.StructType, Schemas.struct),
    (types.UnionType, _union),
    (types.Metadata, lambda schemas, kind: schemas.of(kind.type) | (kind.extra_json_schema or {})),
    (types.StrType, _simple("string")),
    (types.BoolType, _simple("boolean")),
    (types.IntType, _simple("integer")),
    (types.FloatType, _simple("number")),
    (types.NoneType, lambda schemas, kind: {"type": "null"}),
    (types.LiteralType, lambda schemas, kind: {"enum": list(kind.values)}),
    (types.EnumType, lambda schemas, kind: {"enum": [each.value for each in kind.cls]}),
    (
        (types.ListType, types.SetType, types.FrozenSetType, types.VarTupleType),
        lambda schemas, kind: _limited(kind, {"type": "array", "items": schemas.of(kind.item_type)}),
    ),
    (
        types.DictType,
        lambda schemas, kind: _limited(kind, {"type": "object", "additionalProperties": schemas.of(kind.value_type)}),
    ),
    ((types.AnyType, types.RawType), lambda schemas, kind: {}),
)
