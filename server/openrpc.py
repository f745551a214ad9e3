"""`rpc.discover`: an OpenRPC document (https://spec.open-rpc.org) read off the table of methods."""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import inspect as types

from methods.errors import CATALOGUE, ApiError
from methods.method import Method
from methods.replies import ErrorData
from server.schema import Schemas

_VERSION = "1.2.6"
_TITLE = "Tocsin"
_DESCRIPTION = (
    "Push notifications. Parameters are given by name; null means absent; zero values are left out of results. "
    "The same methods answer the plain form of POST /api, where errors have the codes listed here, and strict "
    "JSON-RPC 2.0, where an unknown method is -32601, bad parameters are -32602 and an internal error is -32603."
)


def document(table: Mapping[str, Method], *, version: str) -> dict[str, Any]:
    """Describe every method of the table."""
    schemas = Schemas()
    methods = [_method(method, schemas) for method in table.values()]
    errors = {_error_name(error): _error(error, schemas) for error in CATALOGUE}
    return {
        "openrpc": _VERSION,
        "info": {"title": _TITLE, "version": version, "description": _DESCRIPTION},
        "methods": methods,
        "components": {"schemas": schemas.components, "errors": errors},
    }


def _method(method: Method, schemas: Schemas) -> dict[str, Any]:
    result = types.type_info(method.result)
    described = {"description": method.description} if method.description else {}
    return {
        "name": method.name,
        "summary": method.summary,
        **described,
        "paramStructure": "by-name",
        "params": _params(method, schemas),
        "result": {"name": method.result.__name__, "schema": schemas.of(result)},
        "errors": [{"$ref": f"#/components/errors/{_error_name(error)}"} for error in CATALOGUE],
    }


def _params(method: Method, schemas: Schemas) -> list[dict[str, Any]]:
    return [
        {"name": name, "required": required, "schema": schema}
        | ({"description": schema["description"]} if "description" in schema else {})
        for name, required, schema in schemas.members(method.params)
    ]


def _error(error: type[ApiError], schemas: Schemas) -> dict[str, Any]:
    return {"code": error.code, "message": error().message, "data": schemas.of(types.type_info(ErrorData))}


def _error_name(error: type[ApiError]) -> str:
    return re.sub(r"\W+", "_", error().message)
