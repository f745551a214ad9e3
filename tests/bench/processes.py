"""What processes use, read from /proc: CPU seconds of whole process trees, and memory."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE_SECONDS = 0.25


class Usage(msgspec.Struct):
    """CPU seconds over the measured time, and the most memory held at once (bytes, shared pages counted once)."""

    cpu_seconds: float = 0.0
    peak_bytes: int = 0

    def cpu_per_thousand(self, count: int) -> float:
        """Milliseconds of CPU for each 1,000 of `count`."""
        return self.cpu_seconds / count * 1e6 if count else 0.0


def tree(root: int) -> list[int]:
    """This process and all its descendants that live now."""
    parents: dict[int, list[int]] = {}
    for pid in _pids():
        fields = _stat(pid)
        if fields:
            parents.setdefault(int(fields[1]), []).append(pid)
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += parents.get(pid, [])
    return found


def cpu_seconds(roots: Sequence[int]) -> float:
    """User and system time of these process trees, ended children that were waited for included."""
    total = 0
    for root in roots:
        for pid in tree(root):
            fields = _stat(pid)
            total += sum(map(int, fields[11:15])) if fields else 0
    return total / _TICKS


def memory_bytes(roots: Sequence[int]) -> int:
    """Private memory of these process trees, and the largest shared part of one of them."""
    private, shared = 0, 0
    for root in roots:
        for pid in tree(root):
            status = _status(pid)
            private += status.get("RssAnon", 0)
            shared = max(shared, status.get("RssShmem", 0) + status.get("RssFile", 0))
    return private + shared


def peak_resident_bytes(pid: int) -> int:
    """The most that one process ever had resident (VmHWM), 0 when it is gone."""
    return _status(pid).get("VmHWM", 0)


class Meter:
    """CPU and memory of the processes behind some names, from its start to `stop`."""

    def __init__(self, roots: Mapping[str, Sequence[int]]) -> None:
        self._roots = roots
        self._before = {name: cpu_seconds(pids) for name, pids in roots.items()}
        self._peaks = dict.fromkeys(roots, 0)
        self._after: dict[str, float] | None = None

    async def sample(self) -> None:
        """Note the memory, again and again, until cancelled."""
        while True:
            for name, pids in self._roots.items():
                self._peaks[name] = max(self._peaks[name], memory_bytes(pids))
            await asyncio.sleep(_SAMPLE_SECONDS)

    def stop(self) -> None:
        """What is used from here on does not count."""
        if self._after is None:
            self._after = {name: cpu_seconds(pids) for name, pids in self._roots.items()}

    def usage(self) -> dict[str, Usage]:
        """What each name used until `stop`."""
        self.stop()
        after = self._after or {}
        return {name: Usage(after[name] - self._before[name], self._peaks[name]) for name in self._roots}


@asynccontextmanager
async def metered(roots: Mapping[str, Sequence[int]]) -> AsyncIterator[Meter]:
    """Measure these processes during the block, or until `stop` in it."""
    meter = Meter(roots)
    sampling = asyncio.create_task(meter.sample(), name="sample memory")
    try:
        yield meter
        meter.stop()
    finally:
        sampling.cancel()
        await asyncio.wait([sampling])


def _pids() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]


def _stat(pid: int) -> list[str]:
    """The fields after the command's name: state, ppid, … utime (11), stime, cutime, cstime."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _status(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    sizes = (line.split() for line in lines if line.endswith(" kB"))
    return {fields[0].rstrip(":"): int(fields[1]) * 1024 for fields in sizes}
