"""Child processes: started in turn, started again, stopped with grace."""

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack

import pytest

from server.children import Child, Program, StartError, together
from tests.server.running import gone

_OBEDIENT = "print('ready', flush=True); import sys; sys.stdin.read()"
_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
_ECHO = "print('ordered: ' + input(), flush=True); input()"


def _program(text: str, **changes: object) -> Program:
    given: dict[str, object] = {"name": "child", "command": [sys.executable, "-c", text], "orders": b"go"}
    return Program(**{**given, **changes})  # type: ignore[arg-type]


def _unexpected() -> None:
    raise AssertionError("the keeper failed")


async def test_entering_waits_until_it_says_that_it_is_ready() -> None:
    async with Child(_program(_ECHO), _unexpected) as child:
        assert child.announcement == b"ordered: go\n"


async def test_leaving_ends_it() -> None:
    async with Child(_program(_OBEDIENT), _unexpected) as child:
        pid = child.pid
        assert pid is not None
    assert child.pid is None
    await gone(pid)


async def test_one_that_is_deaf_is_killed_when_its_time_is_over() -> None:
    async with Child(_program(_DEAF, grace_seconds=0.1), _unexpected) as child:
        pid = child.pid
        assert pid is not None
    await gone(pid)


async def test_one_that_ends_before_it_is_ready_cannot_be_entered() -> None:
    with pytest.raises(StartError, match="exit code 3"):
        await Child(_program("raise SystemExit(3)"), _unexpected).start()


async def test_one_that_stays_silent_cannot_be_entered_and_is_killed() -> None:
    child = Child(_program("input(); input()", start_seconds=0.1), _unexpected)
    with pytest.raises(StartError, match=r"not ready within 0\.1 seconds"):
        await child.start()
    await child.stop()
    assert child.pid is None


async def test_one_that_dies_is_started_again() -> None:
    ready: asyncio.Queue[int] = asyncio.Queue()

    async def announced(process: asyncio.subprocess.Process) -> bytes:
        ready.put_nowait(process.pid)
        return b""

    async with Child(_program(_OBEDIENT, ready=announced), _unexpected):
        first = await ready.get()
        os.kill(first, signal.SIGKILL)
        assert await ready.get() != first


async def test_leaving_while_it_waits_to_start_again_ends_at_once() -> None:
    async with Child(_program(_OBEDIENT), _unexpected) as child:
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        await gone(child.pid)


async def test_many_start_and_stop_together() -> None:
    children = [Child(_program(_OBEDIENT, name=str(number)), _unexpected) for number in range(3)]
    async with together(children):
        assert all(child.pid for child in children)
    assert not any(child.pid for child in children)


async def test_when_one_of_many_does_not_start_the_others_are_ended() -> None:
    good, bad = Child(_program(_OBEDIENT), _unexpected), Child(_program("raise SystemExit(3)"), _unexpected)
    async with AsyncExitStack() as stack:
        with pytest.raises(StartError):
            await stack.enter_async_context(together([good, bad]))
    assert good.pid is None
