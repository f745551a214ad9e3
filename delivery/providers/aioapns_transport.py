"""APNs through aioapns 4.0: a second opinion, and the baseline of the benchmark (`"transport": "aioapns"`).

Its faults, by reading and by measuring; the default transport has none of them:
- 1,300 to 1,900 pushes a second on a core; the payload is decoded and encoded again, so its bytes change.
- RST_STREAM and an error without a body are never answered: the push ends as Timeout, its slot is lost with the
  connection. An error body in two DATA frames, or one that is no JSON, ends the connection.
- GOAWAY closes at once: what was in flight has an unknown outcome even where Apple said that it was not processed.
- A thousand streams at once before Apple's SETTINGS arrive; those refused end as Timeout.
- A connection is closed after ten idle seconds, against Apple's wish. 0.35 KB leak for each push until then.
- Response headers are not shown: no Retry-After. `apns-expiration: 0` becomes the present second. Headers that it
  does not know are not sent. A connection cannot be retired, so a renewed token goes over the old one.
- A proxy gets no user and password.

What is put right here: one provider token for all connections instead of one each; no sending again by the library
after a lost connection, which duplicates; no cancellation inside it, which poisons the connection; answers' bodies
acknowledged, without which a connection falls silent after some 2,400 errors; bodies in flight below 64 KB, because
the peer's window is ignored.
"""

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from aioapns.common import NotificationRequest, NotificationResult, PushType
from aioapns.connection import (
    APNsBaseClientProtocol,
    APNsBaseConnectionPool,
    APNsTLSClientProtocol,
    AuthorizationHeaderProvider,
)
from aioapns.exceptions import ConnectionClosed
from aioapns.exceptions import ConnectionError as CannotConnect
from h2.exceptions import FlowControlError, H2Error, NoAvailableStreamIDError

from delivery.http2 import Answer, ConnectFailed, Failure, FailureKind, Group, Head, Origin, PoolOptions
from delivery.providers.apns_token import ApnsTokens
from delivery.providers.transport import LibraryTransport, NoLink

_WINDOW_BYTES = 60_000
_NO_LINK = NoLink()


class AioapnsTransport(LibraryTransport):
    """Requests by aioapns; as many at once as their bodies fit into one HTTP/2 window."""

    def __init__(self, origin: Origin, options: PoolOptions, tokens: ApnsTokens | None) -> None:
        super().__init__(options.streams_per_connection, options.backlog)
        self._timeout = options.request_timeout
        self._connections = _Connections(origin, options, tokens)
        self._room = asyncio.Condition()
        self._bytes = 0

    async def warm_up(self) -> None:
        """Open a connection."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._connections.acquire()
        except (CannotConnect, TimeoutError):
            raise ConnectFailed("aioapns could not connect") from None

    async def perform(self, group: Group, index: int, head: Head) -> Answer | Failure:
        """Send one push; a late answer is left to the library, so that nothing is cancelled inside it."""
        request = _request(group, index, head)
        size = len(group.bodies if isinstance(group.bodies, bytes) else group.bodies[index])
        async with self._room:
            await self._room.wait_for(lambda: self._bytes + size <= _WINDOW_BYTES)
            self._bytes += size
        task = asyncio.create_task(self._send(request), name="aioapns send")
        task.add_done_callback(_retrieve)
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(task)
        except TimeoutError:
            return Failure(FailureKind.UNKNOWN, "no answer in time")
        finally:
            self._bytes -= size
            async with self._room:
                self._room.notify_all()

    async def disconnect(self) -> None:
        """Close all connections."""
        self._connections.close()

    async def _send(self, request: NotificationRequest) -> Answer | Failure:
        try:
            connection = await self._connections.acquire()
        except CannotConnect:
            return Failure(FailureKind.NOT_SENT, "could not connect")
        try:
            return _answer(await connection.send_notification(request))
        except NoAvailableStreamIDError:
            connection.close()
            return Failure(FailureKind.NOT_SENT, "stream ids used up")
        except FlowControlError:
            return Failure(FailureKind.NOT_SENT, "the peer's window is full")
        except (ConnectionClosed, H2Error, OSError) as error:
            return Failure(FailureKind.UNKNOWN, f"connection lost: {type(error).__name__}")


class _SharedToken(AuthorizationHeaderProvider):
    def __init__(self, tokens: ApnsTokens) -> None:
        self._tokens = tokens

    def get_header(self) -> str:
        return f"bearer {self._tokens.current().decode()}"


class _Client(APNsTLSClientProtocol):
    def on_data_received(self, raw_data: bytes, stream_id: int) -> None:
        self.conn.acknowledge_received_data(len(raw_data), stream_id)
        super().on_data_received(raw_data, stream_id)


class _Connections(APNsBaseConnectionPool):
    """aioapns' pool, to any origin, with our token."""

    def __init__(self, origin: Origin, options: PoolOptions, tokens: ApnsTokens | None) -> None:
        proxy = origin.proxy
        super().__init__(
            max_connections=options.max_connections,
            proxy_host=proxy.host if proxy else None,
            proxy_port=proxy.port if proxy else None,
        )
        self.ssl_context = origin.tls
        self.protocol_class = type("Client", (_Client,), {"APNS_SERVER": origin.host, "APNS_PORT": origin.port})
        self._authorization = _SharedToken(tokens) if tokens is not None else None
        self._connect_timeout = options.connect_timeout

    async def create_connection(self) -> APNsBaseClientProtocol:
        """Connect, in time."""
        discard = cast("Any", self._discard)  # declared as a function that never returns
        made = partial(self.protocol_class, "", self.loop, discard, self._authorization)
        async with asyncio.timeout(self._connect_timeout):
            if self.proxy_host:
                return await self._create_proxy_connection(made)
            _, protocol = await self.loop.create_connection(
                made, self.protocol_class.APNS_SERVER, self.protocol_class.APNS_PORT, ssl=self.ssl_context
            )
            return protocol

    def _discard(self, connection: APNsBaseClientProtocol) -> None:
        if connection in self.connections:  # aioapns raises when one is lost twice
            self.connections.remove(connection)


def _request(group: Group, index: int, head: Head) -> NotificationRequest:
    fields: Mapping[bytes, bytes] = dict(head.fields) | dict(head.own_fields)
    text = {name.decode(): value.decode() for name, value in fields.items()}
    expiration = text.get("apns-expiration")
    priority = text.get("apns-priority")
    assert group.paths is not None  # noqa: S101 - every push goes to a device
    assert group.ids is not None  # noqa: S101 - and has an id
    body = group.bodies if isinstance(group.bodies, bytes) else group.bodies[index]
    return NotificationRequest(
        group.paths[index].decode(),
        msgspec.json.decode(body, type=dict[str, Any]),
        group.ids[index].decode(),
        None if expiration is None else max(0, int(expiration) - int(time.time())),
        None if priority is None else int(priority),
        text.get("apns-collapse-id"),
        # aioapns reads `.value` alone, and does not name every push type
        cast("PushType", SimpleNamespace(value=text["apns-push-type"])),
        apns_topic=text["apns-topic"],
    )


def _answer(result: NotificationResult) -> Answer:
    body: dict[str, object] = {}
    if result.description is not None:
        body["reason"] = result.description
    if result.timestamp is not None:
        body["timestamp"] = result.timestamp
    status = int(result.status)
    return Answer(status, [], msgspec.json.encode(body) if body else b"", _NO_LINK)


def _retrieve(task: "asyncio.Task[Answer | Failure]") -> None:
    if not task.cancelled():
        task.exception()
