"""The methods about the server itself: what it is, what it can do, and many calls in one."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from methods.context import Context
from methods.errors import BadRequestError
from methods.method import Method, NoParams, Params, Result
from methods.replies import ErrorObject, Reply, error_object
from storage import credentials, health

_MAX_COMMANDS = 1000
_PARALLEL_CALLS = 8  # below the size of the pool, so that one batch never takes every connection


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerContext(Context):
    """One call, as the methods of this module see it: with the table they are part of and the way to call the others.

    `execute` runs one method with the bytes of its parameters and never raises; `discover` is the OpenRPC document.
    """

    table: Mapping[str, Method]
    execute: Callable[[str, bytes], Awaitable[Reply]]
    discover: Callable[[], Mapping[str, Any]]


class InfoResult(Result):
    """What this server is.

    version: the release that runs
    name: the name of this server, from its settings
    uptime: seconds since this process started
    database: the version of PostgreSQL
    queue: what keeps the order of the queue, `postgresql` or `redis`
    methods: the names of the methods, by group
    emulators: the providers served by emulators, with the addresses of their control ports
    warning: what an operator must know; pushes of an emulated provider reach no real device
    """

    version: str
    name: str = ""
    uptime: int = 0
    database: str = ""
    queue: str = ""
    methods: dict[str, list[str]] = msgspec.field(default_factory=dict)
    emulators: dict[str, str] = msgspec.field(default_factory=dict)
    warning: str = ""


async def info(ctx: ServerContext, params: NoParams) -> InfoResult:
    """Say what this server is, which methods it has, and whether its providers are emulated."""
    facts = ctx.facts
    emulated = await credentials.emulated(ctx.database)  # asked anew: the first real credential ends them
    emulators = {provider: control for provider, control in facts.emulators.items() if provider in emulated}
    return InfoResult(
        version=facts.version,
        name=facts.name,
        uptime=int(time.time() - facts.started_at),
        database=await health.server_version(ctx.database),
        queue=facts.queue,
        methods=groups(ctx.table),
        emulators=emulators,
        warning=_emulated(emulators),
    )


def groups(table: Mapping[str, Method]) -> dict[str, list[str]]:
    """Return the names of the methods, by the module that holds them."""
    found: dict[str, list[str]] = {}
    for method in table.values():
        found.setdefault(method.handler.__module__.rpartition(".")[2], []).append(method.name)
    return found


def _emulated(emulators: Mapping[str, str]) -> str:
    if not emulators:
        return ""
    return f"EMULATED PROVIDERS ({', '.join(sorted(emulators))}): their pushes reach no real device"


class OpenRpcDocument(Result):
    """An OpenRPC document (https://spec.open-rpc.org).

    openrpc: the version of the specification that this document follows
    info: title and version of this API
    methods: every method with its parameters, its result and its errors
    components: the schemas and the errors that the methods refer to
    """

    openrpc: str
    info: dict[str, Any]
    methods: list[dict[str, Any]]
    components: dict[str, Any]


async def rpc_discover(ctx: ServerContext, params: NoParams) -> OpenRpcDocument:
    """Describe every method of this server as an OpenRPC document."""
    return OpenRpcDocument(**ctx.discover())


rpc_discover.__name__ = "rpc.discover"


class BatchParams(Params):
    """Calls to run.

    commands: up to 1000 objects with one member each: the name of a method, with its parameters as the value
    parallel: run them at the same time, in no particular order; otherwise one after the other
    """

    commands: list[msgspec.Raw]
    parallel: bool | None = None


class BatchResult(Result):
    """The replies.

    replies: one object for each command, in their order: the name of the method with its result, or `error`
    """

    replies: list[dict[str, Any]]


async def batch(ctx: ServerContext, params: BatchParams) -> BatchResult:
    """Run several calls in one request.

    A command that fails is answered with its error in its place and does not stop the others. The replies have no
    `result` around them: `{"replies": [{"device_register": {"id": "…"}}, {"error": {"code": 104, …}}]}`.
    """
    if len(params.commands) > _MAX_COMMANDS:
        raise BadRequestError(f"a batch holds at most {_MAX_COMMANDS} commands", path="commands")
    replies: list[dict[str, Any]] = [{}] * len(params.commands)
    queue = enumerate(params.commands)
    async with asyncio.TaskGroup() as group:
        for _ in range(_PARALLEL_CALLS if params.parallel else 1):
            group.create_task(_answer(ctx, queue, replies))
    return BatchResult(replies)


async def _answer(ctx: ServerContext, queue: Iterator[tuple[int, msgspec.Raw]], replies: list[dict[str, Any]]) -> None:
    for index, command in queue:
        replies[index] = await _reply(ctx, command, f"commands[{index}]")


async def _reply(ctx: ServerContext, command: msgspec.Raw, path: str) -> dict[str, Any]:
    try:
        ((name, params),) = _COMMAND.decode(command).items()
        if name == "batch":
            raise BadRequestError("a batch holds no other batch", path=path)
    except (msgspec.DecodeError, ValueError):
        return _refused(BadRequestError("a command is an object with one member: the method's name", path=path))
    except BadRequestError as error:
        return _refused(error)
    reply = await ctx.execute(name, bytes(params))
    return {"error": reply} if isinstance(reply, ErrorObject) else {name: msgspec.Raw(reply)}


def _refused(error: BadRequestError) -> dict[str, Any]:
    return {"error": error_object(error)}


_COMMAND = msgspec.json.Decoder(dict[str, msgspec.Raw])

METHODS = (info, rpc_discover, batch)
