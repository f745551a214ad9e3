"""Starts the API and sender processes of a run by forking one that has loaded their code: 20 ms each, not a second.

Run as a program it is that process: an order (one datagram: the kind, with the descriptors of the child's standard
input and output) comes over a socket, whose descriptor is its argument, and the child's process id goes back.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from server import api_process
from server.process import ApiOrders, WorkerOrders, run
from tests.chaos import sender

_MOST_BYTES = 1000


def _api() -> None:
    run(ApiOrders, api_process.work)


def _sender() -> None:
    run(WorkerOrders, sender.work)


_KINDS: Mapping[str, Callable[[], None]] = {"api": _api, "sender": _sender}


class Child:
    """A forked process that is no child of ours: as much of asyncio's Process as a run needs."""

    def __init__(self, pid: int, orders: int, said: int) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)
        self._orders = orders
        self._said = said
        self._pipes = [orders, said]
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._handle, self._end)

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""
        return self._ended.is_set()

    async def tell(self, line: bytes) -> None:
        """Write its orders."""
        with suppress(BrokenPipeError):  # killed before it had read them
            await asyncio.to_thread(_write, self._orders, line)

    async def heard(self) -> bool:
        """Wait for the first it says; False when it ends without a word."""
        loop, said = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._said, said.set)
        try:
            await said.wait()
            return bool(os.read(self._said, _MOST_BYTES))
        finally:
            loop.remove_reader(self._said)

    def send_signal(self, number: int) -> None:
        """Send a signal, if it is still there."""
        if not self.has_ended:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> None:
        """Wait until it is gone."""
        await self._ended.wait()

    def close(self) -> None:
        """Let go of its standard input and output, which tells it to stop if it is still there."""
        while self._pipes:
            os.close(self._pipes.pop())

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        self._ended.set()


class Nursery:
    """Where the processes of a run are born; `line` is our end of its socket."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._lock = asyncio.Lock()

    async def start(self, kind: str, orders: bytes) -> Child:
        """Fork a process of this kind and give it its orders."""
        ours, theirs = os.pipe(), os.pipe()
        try:
            async with self._lock:
                socket.send_fds(self._line, [kind.encode()], [ours[0], theirs[1]])
                pid = int(await asyncio.to_thread(self._line.recv, _MOST_BYTES))
        finally:
            os.close(ours[0])
            os.close(theirs[1])
        child = Child(pid, ours[1], theirs[0])
        await child.tell(orders + b"\n")
        return child


def command(descriptor: int) -> list[str]:
    """The program of the nursery, for a socket that it inherits."""
    return [sys.executable, "-P", "-m", "tests.chaos.nursery", str(descriptor)]


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _serve(line: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever ends is gone at once
    gc.collect()
    gc.freeze()
    while True:
        kind, descriptors, _, _ = socket.recv_fds(line, _MOST_BYTES, 2)
        if not kind:
            return
        pid = os.fork()
        if pid == 0:
            _become(line, kind.decode(), descriptors)
        line.send(str(pid).encode())
        for descriptor in descriptors:
            os.close(descriptor)


def _become(line: socket.socket, kind: str, descriptors: Sequence[int]) -> None:
    """Be the child; never returns."""
    code = 1
    try:
        line.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        _KINDS[kind]()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
