"""Our HPACK encoder against hpack's decoder: whatever the table holds, the peer reads what we meant."""

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.http2 import Head
from delivery.http2.heads import HeadEncoder, integer

VALUES = st.sampled_from([b"", b"a", b"b" * 40, b"c" * 130, b"d" * 1000])
NAMES = st.sampled_from([b"authorization", b"apns-topic", b"x-one", b"apns-id"])
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
HEADS = st.lists(
    st.builds(
        Head,
        st.sampled_from([b"one.example", b"two.example"]),
        st.sampled_from([b"/", b"/3/device/", b"/" + b"p" * 200]),
        FIELDS,
        own_fields=FIELDS,
        id_name=st.sampled_from([None, b"apns-id", b"x-one", b"content-type"]),
    ),
    min_size=1,
    max_size=6,
)
STEPS = st.lists(
    st.one_of(st.tuples(st.integers(0, 5), st.binary(max_size=200), VALUES), st.integers(0, 5000)), max_size=30
)


def encode(encoder: HeadEncoder, head: Head, path: bytes, own_id: bytes) -> bytes:
    template, _ = encoder.template(head, own_id)
    size, before, after = template.fit(len(path), None if head.id_name is None else len(own_id))
    block = before + path + after + (b"" if head.id_name is None else own_id)
    assert len(block) == size
    return block


def expected(head: Head, path: bytes, own_id: bytes) -> list[tuple[bytes, bytes]]:
    pseudo = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", head.authority)]
    pseudo.append((b":path", head.path + path))
    tail = [] if head.id_name is None else [(head.id_name, own_id)]
    return [*pseudo, *head.fields, *head.own_fields, *tail]


def decode(decoder: hpack.Decoder, block: bytes) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]


@given(HEADS, STEPS)
def test_the_peer_reads_what_we_meant(heads: list[Head], steps: list[tuple[int, bytes, bytes] | int]) -> None:
    encoder, decoder = HeadEncoder(), hpack.Decoder()
    for step in steps:
        if isinstance(step, int):
            encoder.resize(step)
            decoder.max_allowed_table_size = min(step, 4096)
        else:
            which, path, own_id = step
            head = heads[which % len(heads)]
            assert decode(decoder, encode(encoder, head, path, own_id)) == expected(head, path, own_id)
            assert decoder.header_table._current_size == encoder._size


def test_a_head_is_encoded_once_and_then_reused() -> None:
    encoder = HeadEncoder()
    head = Head(b"host", b"/", [(b"authorization", b"bearer " + b"x" * 200)], id_name=b"apns-id")
    assert encoder.template(head, b"1")[1]
    template, once = encoder.template(head, b"2")
    assert not once
    assert encoder.template(head, b"3") == (template, False)
    assert template.fit(0, 36)[0] < 60


def test_values_of_one_push_do_not_push_shared_ones_out_of_the_table() -> None:
    encoder, decoder = HeadEncoder(), hpack.Decoder()
    token = [(b"authorization", b"bearer " + b"x" * 200)]
    sizes = []
    for push in range(500):
        head = Head(b"host", b"/", token, own_fields=[(b"apns-collapse-id", b"push-%d" % push)])
        block = encode(encoder, head, b"", b"")
        assert decode(decoder, block) == expected(head, b"", b"")
        sizes.append(len(block))
    assert max(sizes[1:]) < 30


@pytest.mark.parametrize(("value", "encoded"), [(10, b"\x0a"), (1337, b"\x1f\x9a\x0a"), (31, b"\x1f\x00")])
def test_integers_are_those_of_rfc_7541(value: int, encoded: bytes) -> None:
    assert integer(value, 5, 0) == encoded
