"""Writes docs/methods.md and the table of methods in README.md off the table of methods.

`python -m server.reference` writes them; with `--check` it changes nothing and exits 1 when they are out of date.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import inspect as types

from methods.all import TABLE
from methods.errors import CATALOGUE
from methods.method import Method
from methods.server import groups
from server.schema import Schema, Schemas

ROOT = Path(__file__).resolve().parents[1]
_BEGIN, _END = "<!-- methods:begin -->", "<!-- methods:end -->"
_MARKED = re.compile(f"{_BEGIN}.*?{_END}", re.DOTALL)
_SIMPLE = {"string": "string", "integer": "integer", "number": "number", "boolean": "true or false", "null": "null"}
_HEAD = """# Methods

Written by `python -m server.reference` off the code: do not edit.

Every method is called in any form of the door: `POST /api` with `{"method": …, "params": {…}}`, `POST /api/<method>`
with the parameters as the body, JSON-RPC 2.0, a stream, or `POST /api/batch`. `null` means absent, unknown members are
ignored, zero values are left out of results; ids are strings, times are Unix seconds. `rpc.discover` answers all of
this as OpenRPC.
"""


def reference(table: Mapping[str, Method]) -> str:
    """Return the text of docs/methods.md."""
    schemas = Schemas()
    shown = {method.result.__name__ for method in table.values()}
    parts = [_HEAD, _contents(table)]
    for group, names in groups(table).items():
        parts.append(f"## {group.capitalize()}\n")
        parts += [_method(table[name], schemas) for name in names]
    parts.append(_types(schemas, shown))
    parts.append(_errors())
    return "\n".join(parts)


def readme_table(table: Mapping[str, Method]) -> str:
    """Return what stands between the markers of README.md."""
    rows = [
        f"| [`{method.name}`](docs/methods.md#{_anchor(method.name)}) | {method.summary} |" for method in table.values()
    ]
    return "\n".join([_BEGIN, "| method | |", "|---|---|", *rows, _END])


def _contents(table: Mapping[str, Method]) -> str:
    lines = [
        f"- {group.capitalize()}: " + ", ".join(f"[`{name}`](#{_anchor(name)})" for name in names)
        for group, names in groups(table).items()
    ]
    return "\n".join([*lines, "- [Types](#types)", "- [Errors](#errors)", ""])


def _method(method: Method, schemas: Schemas) -> str:
    parts = [f"### `{method.name}`\n", method.summary + "\n"]
    if method.description:
        parts.append(method.description + "\n")
    given = schemas.members(method.params)
    parts.append(_table("parameter", given) if given else "No parameters.\n")
    answered = schemas.members(method.result)
    schemas.of(types.type_info(method.result))
    parts.append(_table("result", answered) if answered else "Result: `{}`.\n")
    return "\n".join(parts)


def _types(schemas: Schemas, shown: set[str]) -> str:
    parts = ["## Types\n"]
    for name, component in sorted(schemas.components.items()):
        if name not in shown and component["properties"]:
            required = component.get("required", [])
            members = [(field, field in required, schema) for field, schema in component["properties"].items()]
            text = component.get("description", "")
            parts.append(f"### {name}\n\n{text}\n\n{_table('member', members)}")
    return "\n".join(parts)


def _errors() -> str:
    rows = [f"| {error.code} | {error().message} | {error.http_status} |" for error in CATALOGUE]
    head = "## Errors\n\n| code | message | HTTP status in transport mode |\n|---|---|---|\n"
    tail = "\n\nJSON-RPC 2.0 uses -32700, -32600, -32601 (unknown method), -32602 (107) and -32603 (100) instead.\n"
    return head + "\n".join(rows) + tail


def _table(title: str, members: list[tuple[str, bool, Schema]]) -> str:
    rows = []
    for name, required, schema in members:
        need = "required" if required and title != "result" else ""
        rows.append(f"| `{name}` | {_words(schema)} | {need} | {_cell(schema.get('description', ''))} |")
    return "\n".join([f"| {title} | type | | |", "|---|---|---|---|", *rows, ""])


def _words(schema: Schema) -> str:
    """Say a schema in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{_anchor(name)})"
    if "allOf" in schema:
        return _words(schema["allOf"][0])
    if "anyOf" in schema:
        return " or ".join(_words(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_words(schema['items'])}"
    if schema.get("type") == "object":
        return f"object of {_words(schema['additionalProperties'])}"
    return _SIMPLE.get(schema.get("type", ""), "any JSON") + _range(schema)


def _range(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None and high is None:
        return ""
    if high is None:
        return f" from {low}"
    return f" up to {high}" if low is None else f" {low}…{high}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _anchor(title: str) -> str:
    """Return the anchor that GitHub makes of a title."""
    return re.sub(r"[^\w-]", "", title.lower())


def _wanted() -> Iterator[tuple[Path, str]]:
    yield ROOT / "docs" / "methods.md", reference(TABLE)
    readme = ROOT / "README.md"
    if readme.exists():
        text = readme.read_text(encoding="utf-8")
        table = readme_table(TABLE)
        yield readme, _MARKED.sub(lambda _: table, text)


def main(arguments: list[str]) -> int:
    """Write what is out of date, or with `--check` only say what is; return the exit status."""
    stale = [(path, text) for path, text in _wanted() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        for path, _ in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is out of date: run python -m server.reference\n")
        return 1 if stale else 0
    for path, text in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
