"""A child process of `tocsin serve` and `tocsin work`: its orders, how it is started, how it begins and ends.

The orders are the first line on standard input, so that no secret is in an argument or in the environment. Standard
input then stays open: its end says that the parent is gone, and the child stops in good order. A line on standard
output says that the child is ready.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvloop

import server
from methods.context import ServerFacts
from server import logs
from server.children import Program
from server.settings import Settings
from storage.database import DatabaseUnavailableError

_LOG = logging.getLogger(__name__)
_KILL_AFTER_SECONDS = 5.0


class WorkerOrders(msgspec.Struct, frozen=True):
    """What a sender process is to do; the settings hold the database's URL and the secret key."""

    name: str
    settings: Settings


class ApiOrders(msgspec.Struct, frozen=True):
    """What an API process is to do; `socket` is the number of the listening socket that it inherits.

    `demo`: whether it serves the Web Push demonstration, too.
    """

    name: str
    settings: Settings
    facts: ServerFacts
    socket: int
    demo: bool = False


class EmulatorOrders(msgspec.Struct, frozen=True):
    """Where the emulators are to be: ports on loopback of APNs, FCM, Web Push and HMS, each with its control behind."""

    name: str
    settings: Settings
    directory: str
    ports: tuple[int, ...]


Orders = TypeVar("Orders", WorkerOrders, ApiOrders, EmulatorOrders)
Announce = Callable[[bytes], None]
Work = Callable[[Orders, asyncio.Event, Announce], Awaitable[None]]


def program(module: str, orders: WorkerOrders | ApiOrders | EmulatorOrders, **options: Any) -> Program:
    """Describe the child process that runs `server/<module>.py` with these orders."""
    root = str(Path(server.__file__).resolve().parents[1])
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environ.get("PYTHONPATH")]))
    return Program(
        name=orders.name,
        # -P: a directory `server` where the operator happens to be is not ours
        command=[sys.executable, "-P", "-m", f"server.{module}"],
        orders=msgspec.json.encode(orders),
        options={"env": environ, **options},
        grace_seconds=orders.settings.shutdown_seconds + _KILL_AFTER_SECONDS,
    )


def run(kind: type[Orders], work: Work[Orders]) -> None:
    """Run a child process: read its orders, work until told to stop, exit 0; exit 1 when it cannot work."""
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=kind)
    logs.configure(orders.settings.log_level, orders.settings.log_format, orders.name)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_stopped(orders, work))
    except (DatabaseUnavailableError, OSError) as error:
        _LOG.critical("the process cannot work", extra={"reason": str(error), "error": type(error).__name__})
        sys.exit(1)
    except Exception:
        _LOG.critical("the process failed", exc_info=True)
        sys.exit(1)


async def _until_stopped(orders: Orders, work: Work[Orders]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def parent_gone() -> None:
        loop.remove_reader(sys.stdin)
        stop.set()

    loop.add_reader(sys.stdin, parent_gone)
    await work(orders, stop, _announce)


def _announce(said: bytes) -> None:
    """Say that this process is ready; whatever is printed from here on goes to the log."""
    sys.stdout.buffer.write(said + b"\n")
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
