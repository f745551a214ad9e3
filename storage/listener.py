"""Hears the hints of other processes over LISTEN, on a connection of its own that is made again when it breaks."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

import psycopg
from psycopg import sql

_LOG = logging.getLogger(__name__)
_RETRY_CAP_SECONDS = 5.0


async def listen(url: str, channels: Sequence[str], heard: Callable[[str, str], None]) -> None:
    """Call `heard(channel, payload)` for each hint, for ever; hints sent while the connection is away are lost.

    After every (re)connect `heard(channel, "")` is called once for each channel, because something may have been
    missed. Ends only by cancellation.
    """
    delay = 0.1
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                url, autocommit=True, application_name="tocsin listener", connect_timeout=10
            ) as connection:
                for channel in channels:
                    await connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
                for channel in channels:
                    heard(channel, "")
                delay = 0.1
                async for notice in connection.notifies():
                    heard(notice.channel, notice.payload)
        except psycopg.Error as error:
            _LOG.warning("listening for hints was interrupted", extra={"error": type(error).__name__})
        await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311 - spreads reconnects, guards nothing
        delay = min(delay * 2, _RETRY_CAP_SECONDS)
