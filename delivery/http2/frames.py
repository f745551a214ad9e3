"""HTTP/2 on the wire (RFC 9113): the numbers, and the few frames we write that are not requests."""

from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

HEADER_TABLE_SIZE = 1
ENABLE_PUSH = 2
MAX_CONCURRENT_STREAMS = 3
INITIAL_WINDOW_SIZE = 4
MAX_FRAME_SIZE = 5
MAX_HEADER_LIST_SIZE = 6

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
FLOW_CONTROL_ERROR = 0x3
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
ENHANCE_YOUR_CALM = 0xB

DEFAULT_WINDOW = 65_535
LARGEST_WINDOW = LAST_STREAM = 2**31 - 1
FRAME_LIMIT = 16_384
"""The frame size every peer accepts, and the one we accept (we never raise it)."""
HEADER_LIST_LIMIT = 16_384
RECEIVE_WINDOW = 1 << 24
"""What we let the peer send on a connection before it hears of us again."""

pack_head = Struct(">xHHI").pack
"""Frame header from length (below 65,536), type << 8 | flags, stream."""
unpack_head = Struct(">IBI").unpack_from
"""Frame header as length << 8 | type, flags, stream (with its reserved bit)."""
pack_u32 = Struct(">I").pack
unpack_u32 = Struct(">I").unpack_from
_setting = Struct(">HI")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame, complete."""
    return pack_head(len(payload), kind << 8 | flags, stream) + payload


def window_update(stream: int, increment: int) -> bytes:
    """Let the peer send `increment` more bytes on the stream (0: on the connection)."""
    return frame(WINDOW_UPDATE, 0, stream, pack_u32(increment))


def reset(stream: int, code: int) -> bytes:
    """End one stream."""
    return frame(RST_STREAM, 0, stream, pack_u32(code))


def goaway(code: int) -> bytes:
    """End the connection; we never take streams of the peer, so the last one is 0."""
    return frame(GOAWAY, 0, 0, pack_u32(0) + pack_u32(code))


def greeting() -> bytes:
    """Preface, SETTINGS and the connection's receive window.

    A header table of size 0 makes the peer's header blocks stateless, so the common answer needs no decoding.
    """
    settings = {HEADER_TABLE_SIZE: 0, ENABLE_PUSH: 0, MAX_HEADER_LIST_SIZE: HEADER_LIST_LIMIT}
    payload = b"".join(_setting.pack(name, value) for name, value in settings.items())
    return PREFACE + frame(SETTINGS, 0, 0, payload) + window_update(0, RECEIVE_WINDOW - DEFAULT_WINDOW)


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The (name, value) pairs of a SETTINGS frame, in order; the payload's length is a multiple of 6."""
    return list(_setting.iter_unpack(payload))
