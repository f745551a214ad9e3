"""The server side of the connection over which Chromium gets its pushes ("MCS": a mobile connection server).

After a version byte each way, messages are a byte that names their kind, a varint of their length, and protobuf. The
kinds and fields are those of google_apis/gcm/protocol/mcs.proto in the Chromium source, framed as
google_apis/gcm/engine/connection_handler_impl.cc reads it.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from tests.browser import protobuf

_LOG = logging.getLogger(__name__)
_VERSION = 41
_PING, _PING_ANSWER, _LOGIN, _LOGIN_ANSWER, _DATA = 0, 1, 2, 3, 8
_LONGEST = 1 << 20


class Device(msgspec.Struct, frozen=True):
    """The number that a browser was given when it checked in, and the secret that proves it."""

    number: int
    secret: int


class Message(msgspec.Struct, frozen=True):
    """An encrypted push for a subscription: its sender's key, the browser's name for itself, the subscription's own."""

    sender: str
    category: str
    subtype: str
    persistent_id: str
    body: bytes

    def stanza(self) -> bytes:
        """The message as a DataMessageStanza."""
        extra = {"subtype": self.subtype, "content-encoding": "aes128gcm"}
        pairs = [(7, protobuf.encode([(1, key), (2, value)])) for key, value in extra.items()]
        return protobuf.encode(
            [(3, self.sender), (5, self.category), *pairs, (9, self.persistent_id), (17, 60), (21, self.body)]
        )


class MobileConnections:
    """Takes the browser's connection, checks who it is, and pushes over it; one browser at a time."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._writer: asyncio.StreamWriter | None = None
        self.logged_in = asyncio.Event()
        self.refused: list[str] = []

    @asynccontextmanager
    async def listening(self, tls: ssl.SSLContext) -> AsyncIterator[int]:
        """Listen on a free port of loopback; yields it."""
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=tls)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            if self._writer is not None:
                self._writer.transport.abort()

    async def push(self, message: Message) -> None:
        """Send a push to the browser, as soon as it is connected."""
        await self.logged_in.wait()
        assert self._writer is not None
        self._send(self._writer, _DATA, message.stanza())
        await self._writer.drain()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._log_in(reader, writer)
            while True:
                kind, _ = await _read(reader)
                if kind == _PING:
                    self._send(writer, _PING_ANSWER, b"")
        except (asyncio.IncompleteReadError, ConnectionError):
            _LOG.info("the browser's push connection ended")
        except ValueError as error:
            self.refused.append(str(error))
        finally:
            if self._writer is writer:
                self.logged_in.clear()
                self._writer = None
            writer.close()

    async def _log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version = (await reader.readexactly(1))[0]
        kind, body = await _read(reader)
        said = protobuf.decode(body)
        known = str(self._device.number), str(self._device.secret)
        if version != _VERSION or kind != _LOGIN or (protobuf.text(said, 3), protobuf.text(said, 5)) != known:
            raise ValueError(f"a browser said it is version {version}, and began with kind {kind}, or is not ours")
        writer.write(bytes([_VERSION]))
        self._send(writer, _LOGIN_ANSWER, protobuf.encode([(1, protobuf.text(said, 1)), (6, 1)]))
        await writer.drain()
        self._writer = writer
        self.logged_in.set()

    def _send(self, writer: asyncio.StreamWriter, kind: int, body: bytes) -> None:
        writer.write(bytes([kind]) + protobuf.varint(len(body)) + body)


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one message: its kind and its bytes; ValueError when its length is none."""
    kind = (await reader.readexactly(1))[0]
    length = 0
    for shift in range(0, 35, 7):
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    if length > _LONGEST:
        raise ValueError(f"a message of {length} bytes")
    return kind, await reader.readexactly(length)
