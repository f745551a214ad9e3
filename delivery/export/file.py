"""Every event as a line of a file that only grows, until it is put aside and a new one begins."""

import asyncio
import fcntl
import os
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from delivery.export.lines import lines
from delivery.feed import Moving
from storage.database import Database
from storage.feed import Span, Stream

_BLOCK_LINES = 5000
_TAIL_BYTES = 65_536


class FileExport:
    """A consumer of the record (delivery/feed.py) that appends to `path`.

    A page is written and synced to disk before the cursor moves: at least once, and an event that comes again has the
    `id` of the first. A half line that a crash left is cut off before anything is appended. Before a page that finds
    more than `most_bytes`, or what was written on another day (UTC), the file is renamed to `<path>.<day>.<number>`,
    by the day it was last written, numbered from 1; those files are never touched again.
    """

    name = "export_file"
    streams: tuple[Stream, ...] = ("outcomes", "receipts")
    repeats = True

    def __init__(self, database: Database, path: Path, *, most_bytes: int, from_start: bool = False) -> None:
        self.from_start = from_start
        self._database = database
        self._path = path
        self._most_bytes = most_bytes

    async def take(self, span: Span, moving: Moving) -> None:
        """Append a page, make sure that it is on disk, move the cursor. OSError when that cannot be done."""
        blocks = [block async for block in lines(self._database, span, _BLOCK_LINES)]
        if blocks:
            await asyncio.to_thread(append, self._path, blocks, self._most_bytes)
        async with moving():
            pass


def append(path: Path, blocks: Sequence[bytes], most_bytes: int, now: float | None = None) -> None:
    """Write whole lines to the end of a file and sync them; put the file aside before when its time has come.

    `now` is Unix seconds. The file is locked meanwhile: whoever else appends to it waits.
    """
    with closing(_File(path)) as file:
        file.repair()
        if file.is_over(most_bytes, time.time() if now is None else now):
            file.put_aside()
    with closing(_File(path)) as file:
        file.repair()
        file.write(blocks)


class _File:
    """The file that is open now, locked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        while True:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if self._is_current():
                return
            os.close(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def repair(self) -> None:
        """Cut off what follows the last newline."""
        size = end = os.fstat(self._fd).st_size
        while end > 0:
            begin = max(0, end - _TAIL_BYTES)
            newline = os.pread(self._fd, end - begin, begin).rfind(b"\n")
            if newline >= 0:
                end = begin + newline + 1
                break
            end = begin
        if end < size:
            os.ftruncate(self._fd, end)

    def is_over(self, most_bytes: int, now: float) -> bool:
        """Whether it is full, or of another day."""
        found = os.fstat(self._fd)
        return found.st_size > 0 and (found.st_size >= most_bytes or _day(found.st_mtime) != _day(now))

    def put_aside(self) -> None:
        """Rename it to the first free name of its day."""
        day = _day(os.fstat(self._fd).st_mtime)
        number = 1
        while (name := self._path.with_name(f"{self._path.name}.{day}.{number}")).exists():
            number += 1
        self._path.rename(name)
        self._sync_directory()

    def write(self, blocks: Sequence[bytes]) -> None:
        """Append, and return when it is on disk."""
        is_new = os.fstat(self._fd).st_size == 0
        for block in blocks:
            left = memoryview(block)
            while left:
                left = left[os.write(self._fd, left) :]
        os.fsync(self._fd)
        if is_new:
            self._sync_directory()

    def _is_current(self) -> bool:
        """Whether the path still names this file: it may have been put aside while we waited for the lock."""
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        own = os.fstat(self._fd)
        return (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino)

    def _sync_directory(self) -> None:
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
