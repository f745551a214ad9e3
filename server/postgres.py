"""Which database to use: the one of the settings, or the embedded one, started when nobody runs it yet."""

import asyncio
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from server.children import Child, Program, StartError
from server.data_directory import DataDirectory, InUseError
from server.embedded import Embedded

_POLL_SECONDS = 0.05
_START_SECONDS = 600.0  # crash recovery after a power cut may have gigabytes of log to replay


@asynccontextmanager
async def run_embedded(embedded: Embedded, broken: Callable[[], None]) -> AsyncIterator[Child]:
    """Keep the embedded PostgreSQL running; the caller holds the lock of its data directory.

    Raises EmbeddedError or StartError.
    """
    await asyncio.to_thread(embedded.prepare)

    async def ready(process: Process) -> bytes:
        while not await asyncio.to_thread(embedded.accepts_as, process.pid):
            if process.returncode is not None:
                raise StartError(f"the embedded PostgreSQL ended: {embedded.last_words()}")
            await asyncio.sleep(_POLL_SECONDS)
        return b""

    with embedded.open_log() as log:
        program = Program(
            name="postgres",
            command=embedded.command(),
            ready=ready,
            options=embedded.process_options(log),
            stop_signal=embedded.STOP_SIGNAL,
            kill_signal=embedded.KILL_SIGNAL,
            start_seconds=_START_SECONDS,
            grace_seconds=60.0,
        )
        async with Child(program, broken) as child:
            yield child


@asynccontextmanager
async def database_url(given: str, data: DataDirectory) -> AsyncIterator[str]:
    """Yield the URL of the database for a single command.

    That is `given`; else the embedded one that a `tocsin serve` on this data directory runs; else it is started for
    as long as this lasts. Raises DataDirectoryError, EmbeddedError or StartError.
    """
    if given:
        yield given
        return
    embedded = Embedded(data.postgres)
    try:
        with data.locked():
            async with run_embedded(embedded, lambda: None):
                yield await asyncio.to_thread(embedded.ensure_database)
    except InUseError:
        if not await asyncio.to_thread(embedded.accepts):
            raise
        yield embedded.url()
