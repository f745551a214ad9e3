"""What lies under a client's connection, and what goes wrong with that alone: silence, a half-closed line, its end."""

import asyncio
import socket
from typing import cast


class Line(asyncio.Protocol):
    """The transport of a connection.

    `muted_by` names the fault since which nothing that is written reaches the client, and is empty before. Nothing is
    read any more while `_deaf`.
    """

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self.muted_by = ""
        self._deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        """Read no more from a client that does not read."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        if not self._deaf:
            self._transport.resume_reading()

    def stall(self) -> None:
        """Stop reading and writing and leave the connection open."""
        self.muted_by = "stall_connection"
        self.stop_reading()

    def stop_reading(self) -> None:
        """Leave what the client sends from now on where it is; answers still go out."""
        self._deaf = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def end_sending(self) -> None:
        """Send FIN, read on: what is asked from now on is processed, and the client hears nothing of it.

        TLS over asyncio has no such thing, so the socket below is shut down, after what it was given so far.
        """
        if self.muted_by or self._transport.is_closing():
            return
        self.muted_by = "end_sending"
        own = self._transport.get_extra_info("socket")
        with socket.fromfd(own.fileno(), own.family, own.type) as same:
            same.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._transport.abort()

    def _write(self, data: bytes) -> None:
        if data and not self.muted_by and not self._transport.is_closing():
            self._transport.write(data)
