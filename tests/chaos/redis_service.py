"""The Redis of a run: killed and started again without what it had or with old data, emptied, stopped, cut off."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from tests.chaos.detour import Detour
from tests.redis_server import RedisServer, newest_binary, oldest_binary

_LOG_ON_DISK = ("--appendonly", "yes", "--appendfsync", "everysec")


class RedisService:
    """A server behind a relay, the newest there is, or the `oldest` that we support."""

    def __init__(self, directory: Path, *, oldest: bool = False) -> None:
        self._folder, self._old = directory / "now", directory / "before"
        self._server = RedisServer(oldest_binary() if oldest else newest_binary(), self._folder, *_LOG_ON_DISK)
        self._way = Detour()
        self._harms: dict[str, Callable[[float, str], Awaitable[None]]] = {
            "redis": self._kill,
            "redis flush": self._flush,
            "redis stall": self._stall,
            "redis cut": self._cut,
            "redis silence": self._silence,
            "redis full": self._fill,
        }

    @property
    def url(self) -> str:
        """Where the senders find it."""
        return f"redis://127.0.0.1:{self._way.port}"

    async def start(self, stack: AsyncExitStack) -> None:
        """Start it and its relay; leaving the stack ends both."""
        self._folder.mkdir(parents=True)
        await asyncio.to_thread(self._server.start)
        stack.push_async_callback(asyncio.to_thread, self._server.stop)
        self._way.target = self._server.port
        await self._way.open()
        stack.callback(self._way.cut)

    async def harm(self, kind: str, seconds: float, how: str) -> None:
        """Do this to it, for so long."""
        await self._harms[kind](seconds, how)

    async def _kill(self, seconds: float, how: str) -> None:
        """SIGKILL, and start it with nothing ("empty"), what it had written ("kept"), or had at an earlier end ("old").

        What it has at an end is kept for the next time that it is to come back with something old.
        """
        await asyncio.to_thread(self._server.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self._arrange, how)
        await asyncio.to_thread(self._server.start)

    def _arrange(self, how: str) -> None:
        if how == "kept":
            shutil.rmtree(self._old, ignore_errors=True)
            shutil.copytree(self._folder, self._old)
            return
        shutil.rmtree(self._folder)
        if how == "old" and self._old.exists():
            shutil.copytree(self._old, self._folder)
        else:
            self._folder.mkdir()

    async def _flush(self, seconds: float, how: str) -> None:
        await asyncio.to_thread(self._server.command, "FLUSHALL")

    async def _stall(self, seconds: float, how: str) -> None:
        self._server.stall()
        await asyncio.sleep(seconds)
        self._server.resume()

    async def _fill(self, seconds: float, how: str) -> None:
        """Let it take nothing more, because of its memory."""
        await asyncio.to_thread(self._server.command, "CONFIG", "SET", "maxmemory", 1)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self._server.command, "CONFIG", "SET", "maxmemory", 0)

    async def _cut(self, seconds: float, how: str) -> None:
        self._way.cut()
        await asyncio.sleep(seconds)
        await self._way.open()

    async def _silence(self, seconds: float, how: str) -> None:
        self._way.silence()
        await asyncio.sleep(seconds)
        self._way.speak()
