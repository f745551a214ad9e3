"""Looking for one field in a header block finds what decoding all of it finds."""

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.http2.errors import ProtocolViolation
from delivery.http2.fields import Lookup
from delivery.http2.group import Answer

NAMES = [b"location", b"retry-after", b"server", b"x-wns-status", b"x-own", b"date", b"content-length"]
FIELDS = st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=200)), max_size=12)


class Nowhere:
    """An answer's connection, of which nothing is asked."""

    def retire(self, reason: str) -> None:
        raise AssertionError(reason)


def block_of(fields: list[tuple[bytes, bytes]], *, coded: bool = True) -> bytes:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    return bytes(encoder.encode([(b":status", b"201"), *fields], huffman=coded))


@given(fields=FIELDS, coded=st.booleans(), wanted=st.sampled_from(NAMES))
def test_a_field_is_found_as_by_decoding_all(fields: list[tuple[bytes, bytes]], coded: bool, wanted: bytes) -> None:
    block = block_of(fields, coded=coded)
    first = next((value for name, value in fields if name == wanted), None)
    assert Lookup(wanted).find(block) == first
    whole = Answer(201, block, b"", Nowhere())
    assert whole.headers == fields
    assert whole.header(wanted) == first


@given(block=st.binary(max_size=300), wanted=st.sampled_from(NAMES))
def test_whatever_a_peer_sends_is_read_or_refused(block: bytes, wanted: bytes) -> None:
    assert isinstance(Answer(201, block, b"", Nowhere()).header(wanted), bytes | None)


@pytest.mark.parametrize("block", [b"\x0f\x1f", b"\x0f\x1f\x05abc", b"\x0f\x1f\x7f\xff\xff\xff\xff\xff\x01", b"\x40"])
def test_a_block_that_ends_too_soon_is_refused(block: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        Lookup(b"location").find(block)


def test_a_field_of_the_static_table_has_its_value_there() -> None:
    assert Lookup(b":status").find(b"\x88") == b"200"
    assert Lookup(b"location").find(b"\x88\x3f\x01\x20") is None
