import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest

from methods.all import TABLE
from methods.context import Context
from methods.method import Params, Result, declare
from server import openrpc


class Tree(msgspec.Struct):
    """A tree.

    children: the branches
    """

    children: "list[Tree] | None" = None


class PlantParams(Params):
    """What to plant.

    count: how many of them
      and where
    """

    count: Annotated[int, msgspec.Meta(ge=1, le=9)]
    kind: Literal["oak", "elm"] | None = None
    tree: Tree | None = None
    payload: msgspec.Raw = msgspec.Raw(b"null")
    words: dict[str, str] | None = None


class PlantResult(Result):
    """What was planted."""

    items: list[str]
    total: float = 0


async def plant(ctx: Context, params: PlantParams) -> PlantResult:
    """Plant trees.

    Where there is room.
    """
    return PlantResult([])


@pytest.fixture(scope="module")
def planted() -> dict[str, Any]:
    return openrpc.document({"plant": declare(plant)}, version="1.2.3")


def test_a_method_is_described_by_its_declaration(planted: dict[str, Any]) -> None:
    (method,) = planted["methods"]
    assert (method["name"], method["summary"], method["description"]) == (
        "plant",
        "Plant trees.",
        "Where there is room.",
    )
    assert {param["name"]: param["required"] for param in method["params"]} == {
        "count": True,
        "kind": False,
        "tree": False,
        "payload": False,
        "words": False,
    }


def test_a_param_has_its_schema_and_description(planted: dict[str, Any]) -> None:
    count, kind, tree, payload, words = planted["methods"][0]["params"]
    text = "how many of them and where"
    assert count["description"] == text
    assert count["schema"] == {"type": "integer", "minimum": 1, "maximum": 9, "description": text}
    assert kind["schema"] == {"enum": ["elm", "oak"]}
    assert tree["schema"] == {"$ref": "#/components/schemas/Tree"}
    assert payload["schema"] == {}
    assert words["schema"] == {"type": "object", "additionalProperties": {"type": "string"}}


def test_a_struct_may_hold_itself(planted: dict[str, Any]) -> None:
    assert planted["components"]["schemas"]["Tree"] == {
        "type": "object",
        "description": "A tree.",
        "properties": {
            "children": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/Tree"},
                "description": "the branches",
            }
        },
    }


def test_every_error_is_in_the_catalogue(planted: dict[str, Any]) -> None:
    errors = planted["components"]["errors"]
    assert {error["code"]: error["message"] for error in errors.values()} == {
        100: "internal server error",
        104: "not found",
        107: "bad request",
        108: "not available",
        111: "too many requests",
        112: "forbidden",
        113: "conflict",
    }


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for member in value.values():
            yield from _references(member)
    elif isinstance(value, list):
        for member in value:
            yield from _references(member)


def test_every_reference_of_the_whole_document_leads_somewhere() -> None:
    document = json.loads(json.dumps(openrpc.document(TABLE, version="1.2.3")))
    for reference in set(_references(document)):
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def test_every_schema_of_the_whole_document_is_a_schema() -> None:
    document = openrpc.document(TABLE, version="1.2.3")
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema)
    for method in document["methods"]:
        for param in method["params"]:
            jsonschema.Draft7Validator.check_schema(param["schema"])


def test_every_param_of_every_method_is_described() -> None:
    document = openrpc.document(TABLE, version="1.2.3")
    silent = [
        f"{method['name']}.{param['name']}"
        for method in document["methods"]
        for param in method["params"]
        if "description" not in param
    ]
    assert silent == []
