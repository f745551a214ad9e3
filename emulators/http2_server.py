"""The server side of an HTTP/2 connection on the `h2` library: strict with clients, and able to misbehave on demand."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from h2 import events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from emulators.counters import Journal
from emulators.exchange import Answer, Request
from emulators.faults import resolve_last_stream
from emulators.http2_streams import Http2Limits, Outbox, ServerSide, Stream, WindowUpdates
from emulators.line import Line

logger = logging.getLogger(__name__)

MAX_STREAM_ID = 2**31 - 1
LINGER_SECONDS = 0.2


class Http2Connection(Line):
    """One client connection: an `emulators.exchange.Connection`.

    Complete requests go to `on_request`, the end of the connection to `on_closed`; both are called with this object.
    """

    def __init__(
        self,
        connection_id: int,
        limits: Http2Limits,
        journal: Journal,
        on_request: "Callable[[Http2Connection, Request], None]",
        on_closed: "Callable[[Http2Connection], None]",
    ) -> None:
        super().__init__()
        self.connection_id = connection_id
        self._limits = limits
        self._journal = journal
        self._on_request = on_request
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._h2 = ServerSide(limits)
        self._outbox = Outbox(self._h2)
        self._windows = WindowUpdates(self._h2, limits.window_update_delay, self._flush)
        self._streams: dict[int, Stream] = {}
        self._limit = limits.initial_streams
        self._limit_changed = False
        self._acknowledged_limit: int | None = None
        self._last_processed: int | None = None
        self._reset_now: set[int] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._pings = 0
        self._last_activity = self._loop.time()
        self._broken = False
        self._receiving = False
        self._handlers: dict[type[events.Event], Callable[[Any], None]] = {
            events.RequestReceived: self._request_received,
            events.DataReceived: self._body_received,
            events.StreamEnded: self._request_ended,
            events.StreamReset: self._reset_received,
            events.WindowUpdated: self._windows_changed,
            events.RemoteSettingsChanged: self._windows_changed,
            events.SettingsAcknowledged: self._settings_acknowledged,
            events.PingReceived: self._ping_received,
            events.ConnectionTerminated: self._goaway_received,
        }

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the server's SETTINGS and start the clocks of the connection."""
        super().connection_made(transport)
        self._journal.connection_opened()
        self._h2.initiate_connection()
        self._flush()
        if self._limits.idle_timeout is not None:
            self._timers["idle"] = self._loop.call_later(self._limits.idle_timeout, self._check_idle)
        if self._limits.max_age is not None:
            self._timers["age"] = self._loop.call_later(self._limits.max_age, self._retire, b"max_age")

    def data_received(self, data: bytes) -> None:
        """Take what the client sent; a breach of the protocol ends the connection with GOAWAY."""
        if self._broken:
            return
        try:
            happened = self._h2.receive_data(data)
        except ProtocolError as error:
            self._journal.protocol_error(f"{type(error).__name__}: {error}")
            logger.info("client broke the HTTP/2 protocol", extra={"connection": self.connection_id})
            self._flush()
            self._broken = True
            self._linger()
            return
        # A stream that is reset further down in the same bytes can no longer be answered.
        self._reset_now = {event.stream_id for event in happened if type(event) is events.StreamReset}
        for stream_id in self._reset_now:
            self._forget(stream_id)
        self._receiving = True
        for event in happened:
            handler = self._handlers.get(type(event))
            if handler is not None:
                handler(event)
            # What follows a fault that ends or stalls the connection was never read.
            if self._deaf or self._transport.is_closing():
                break
        self._receiving = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the streams and stop the clocks."""
        for stream_id in list(self._streams):
            self._forget(stream_id)
        for timer in self._timers.values():
            timer.cancel()
        self._windows.stop()
        self._journal.connection_closed()
        self._on_closed(self)

    # What a service and a fault do (emulators.exchange.Connection)

    def respond(self, stream_id: int, answer: Answer) -> None:
        """Send the answer; nothing happens when the stream is gone."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if self._outbox.start(stream_id, stream, answer):
            self._forget(stream_id)
        self._flush()

    def respond_later(self, stream_id: int, seconds: float, answer: Answer) -> None:
        """Send the answer after a delay, unless the stream or the connection goes away before."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.timer = self._loop.call_later(seconds, self.respond, stream_id, answer)

    def reset(self, stream_id: int, error_code: int) -> None:
        """End one stream with RST_STREAM."""
        if self._streams.get(stream_id) is not None:
            self._h2.reset_stream(stream_id, error_code)
            self._forget(stream_id)
            self._flush()

    def goaway(self, stream_id: int, last: int | str, error_code: int, debug: bytes) -> bool:
        """Announce the end; true when the given stream is still going to be processed.

        The frame is written by hand, because h2 answers no stream after its own. Streams up to the last one are served
        and then the connection closes; the others are ignored. The highest possible number is a warning only.
        """
        number = resolve_last_stream(last, self._h2.highest_inbound_stream_id)
        if self._last_processed is not None:
            number = min(number, self._last_processed)
        frame = GoAwayFrame(0, last_stream_id=number, error_code=error_code, additional_data=debug)
        self._write(self._h2.data_to_send() + frame.serialize())
        self._journal.tally["goaways_sent"] += 1
        if number < MAX_STREAM_ID:
            self._last_processed = number
            for ignored in [known for known in self._streams if known > number]:
                self._forget(ignored)
                self._journal.tally["ignored_after_goaway"] += 1
            self._flush()
        return stream_id <= number

    def limit_streams(self, count: int) -> None:
        """Announce another MAX_CONCURRENT_STREAMS and refuse what exceeds it from now on."""
        self._limit_changed = True
        if count != self._limit:
            self._limit = count
            self._h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: count})
            self._flush()

    def raise_streams(self, count: int) -> None:
        """Announce another MAX_CONCURRENT_STREAMS, unless it was changed before."""
        if not self._limit_changed:
            self.limit_streams(count)

    def ping(self) -> None:
        """Send a PING to the client."""
        self._h2.ping(b"emulator")
        self._flush()

    def end_sending(self) -> None:
        """Close the sending side (FIN) behind the answers that are ready, and read on."""
        self._write(self._h2.data_to_send())
        super().end_sending()

    # What the client does

    def _request_received(self, event: events.RequestReceived) -> None:
        stream_id = event.stream_id
        self._pings = 0
        self._last_activity = self._loop.time()
        if self._last_processed is not None and stream_id > self._last_processed:
            self._journal.tally["ignored_after_goaway"] += 1
            return
        if len(self._streams) >= self._limit:
            self._refuse(stream_id)
            return
        if stream_id in self._reset_now:
            return
        self._streams[stream_id] = Stream(event.headers)
        self._journal.streams_open(len(self._streams))

    def _refuse(self, stream_id: int) -> None:
        self._journal.tally["refused_streams"] += 1
        if self._acknowledged_limit is not None and len(self._streams) >= self._acknowledged_limit:
            self._journal.tally["streams_over_limit"] += 1
        self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)

    def _body_received(self, event: events.DataReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.add(event.data, self._limits.body_limit)
        self._windows.received(event.flow_controlled_length, event.stream_id)

    def _request_ended(self, event: events.StreamEnded) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            self._on_request(self, stream.request(self.connection_id, event.stream_id))

    def _reset_received(self, event: events.StreamReset) -> None:
        if event.remote_reset:
            self._journal.tally["resets_received"] += 1

    def _windows_changed(self, event: events.WindowUpdated | events.RemoteSettingsChanged) -> None:
        for stream_id, stream in list(self._streams.items()):
            if stream.answer is not None and self._outbox.proceed(stream_id, stream):
                self._forget(stream_id)

    def _settings_acknowledged(self, event: events.SettingsAcknowledged) -> None:
        changed = event.changed_settings.get(SettingCodes.MAX_CONCURRENT_STREAMS)
        self._acknowledged_limit = changed.new_value if changed else self._acknowledged_limit or self._limit

    def _ping_received(self, event: events.PingReceived) -> None:
        self._journal.tally["pings_received"] += 1
        self._pings += 1
        if self._limits.max_pings is not None and self._pings > self._limits.max_pings:
            self._retire(b"too_many_pings", ErrorCodes.ENHANCE_YOUR_CALM)

    def _goaway_received(self, event: events.ConnectionTerminated) -> None:
        self._journal.tally["goaways_received"] += 1
        self._last_processed = self._h2.highest_inbound_stream_id

    # The connection's own business

    def _check_idle(self) -> None:
        allowed = self._limits.idle_timeout or 0.0
        left = self._last_activity + allowed - self._loop.time()
        if self._streams or left > 0:
            self._timers["idle"] = self._loop.call_later(max(left, 0.001) if left > 0 else allowed, self._check_idle)
        else:
            self._retire(b"session_timeout")

    def _retire(self, debug: bytes, error_code: int = ErrorCodes.NO_ERROR) -> None:
        self.goaway(0, "true", error_code, debug)

    def _forget(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None and stream.timer is not None:
            stream.timer.cancel()

    def _flush(self) -> None:
        if self._receiving:
            return
        self._write(self._h2.data_to_send())
        stalled = self._deaf and self.muted_by
        if self._last_processed is not None and not self._streams and not stalled:
            self._linger()

    def _linger(self) -> None:
        """Close a little later: a close with bytes unread resets the connection, and the client may lose the GOAWAY."""
        if "linger" not in self._timers:
            self._timers["linger"] = self._loop.call_later(LINGER_SECONDS, self._transport.close)
