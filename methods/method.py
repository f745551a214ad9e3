"""What a method is: a coroutine whose signature is its schema and whose docstring is its documentation.

    async def device_remove(ctx: Context, params: DeviceRemoveParams) -> Empty:
        \"\"\"Remove devices.

        Longer text, shown in the reference and in OpenRPC.
        \"\"\"

A module of this room lists its methods in `METHODS`; `methods/table.py` gathers the modules. Validation, dispatch,
`rpc.discover`, the reference in docs/ and the `/api/<method>` form all follow from that.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec

from methods.context import Context


class Params(msgspec.Struct):
    """What a method takes. Optional fields are `T | None = None`: null means absent. Unknown fields are ignored."""


class Result(msgspec.Struct, omit_defaults=True):
    """What a method answers: zero values are left out, so every field that may be left out has its zero as default.

    A list that must always be there (`items`) has no default.
    """


class Empty(Result):
    """An answer without content: `{}`."""


class NoParams(Params):
    """A method that takes nothing."""


Handler = Callable[[Context, Any], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the table of methods."""

    name: str
    handler: Handler
    params: type[Params]
    result: type[Result]
    summary: str
    description: str
    decoder: "msgspec.json.Decoder[Params]"


def declare(handler: Handler, name: str | None = None) -> Method:
    """Read a method's declaration off its coroutine.

    Raises TypeError when the signature is not `async (ctx: Context, params: Params subclass) -> Result subclass`, or
    when the docstring is missing: a mistake in our code, found at import.
    """
    hints = get_type_hints(handler)
    params, result = hints.get("params"), hints.get("return")
    given = name or handler.__name__
    if not (isinstance(params, type) and issubclass(params, Params)):
        raise TypeError(f"{given}: params is not a subclass of Params")
    if not (isinstance(result, type) and issubclass(result, Result)):
        raise TypeError(f"{given}: the result is not a subclass of Result")
    summary, _, description = inspect.cleandoc(handler.__doc__ or "").partition("\n")
    if not summary:
        raise TypeError(f"{given}: no docstring")
    return Method(given, handler, params, result, summary, description.strip(), msgspec.json.Decoder(params))
