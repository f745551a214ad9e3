"""The h2 library as a judge of everything we send."""

import asyncio
from typing import cast

import h2.config
import h2.connection
import h2.events

from delivery.http2 import Origin, Pool, tls_context
from tests.delivery.http2.http2_peer import pool_options
from tests.delivery.http2.http2_recorder import Recorder
from tests.delivery.http2.http2_tls import Files, server_tls


class Judge(asyncio.Protocol):
    """A server on the h2 library, which is strict about everything we send. Answers 200, or 410 for paths in …9."""

    def __init__(self) -> None:
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.transport: asyncio.Transport | None = None
        self.paths: dict[int, bytes] = {}
        self.error: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.connection.initiate_connection()
        self.transport.write(self.connection.data_to_send())

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        try:
            for event in self.connection.receive_data(data):
                self.react(event)
        except Exception as error:
            self.error = error
        self.transport.write(self.connection.data_to_send())

    def react(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.paths[event.stream_id] = dict(event.headers)[b":path"]
        elif isinstance(event, h2.events.DataReceived):
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            gone = self.paths[event.stream_id].endswith(b"9")
            self.connection.send_headers(event.stream_id, [(":status", "410" if gone else "200")], end_stream=not gone)
            if gone:
                self.connection.send_data(event.stream_id, b'{"reason":"Unregistered"}', end_stream=True)


async def test_the_h2_library_finds_nothing_wrong_with_us(files: Files) -> None:
    judges: list[Judge] = []

    def judge() -> Judge:
        judges.append(Judge())
        return judges[-1]

    loop = asyncio.get_running_loop()
    server = await loop.create_server(judge, "127.0.0.1", 0, ssl=server_tls(files, "h2"))
    origin = Origin("127.0.0.1", server.sockets[0].getsockname()[1], tls_context(cafile=files.certificate))
    async with server, Pool(origin, pool_options(max_connections=2)) as pool:
        sizes = [0, 1, 400, 5000, 70_000]
        groups = [Recorder(200, bodies=[b"x" * sizes[i % 5] for i in range(200)]) for _ in range(3)]
        for group in groups:
            pool.submit(group)
        for group in groups:
            await group.reported()
            assert group.kinds() == ["answer" if index % 16 == 9 else "ok" for index in range(200)]
    assert [each.error for each in judges] == [None] * len(judges)
