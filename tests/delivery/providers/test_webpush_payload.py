"""The member `webpush`: headers, payload, and what a push service would refuse."""

import pytest

from delivery.providers.contract import PayloadError
from delivery.providers.webpush_payload import MAX_TTL_SECONDS, WebpushRequest, read


def refusal(raw: bytes) -> PayloadError:
    with pytest.raises(PayloadError) as caught:
        read(raw)
    return caught.value


@pytest.mark.parametrize(
    ("payload", "sent"),
    [
        (b'{"title" : "h\\u00e9","n":1.50}', b'{"title" : "h\\u00e9","n":1.50}'),
        (b'"h\\u00e9\\n"', "hé\n".encode()),
        (b"[1, 2]", b"[1, 2]"),
        (b"17", b"17"),
        (b"null", b""),
        (b'""', b""),
    ],
)
def test_a_payload_is_sent_as_it_came_and_of_a_string_its_text(payload: bytes, sent: bytes) -> None:
    assert read(b'{"payload": ' + payload + b" }") == WebpushRequest(sent)


def test_without_a_payload_nothing_is_said() -> None:
    assert read(b"{}") == WebpushRequest(b"", MAX_TTL_SECONDS)


def test_headers_are_read_in_any_case() -> None:
    request = read(b'{"headers":{"ttl":"60","URGENCY":"very-low","topic":"a-b_C9"},"payload":1}')
    assert request == WebpushRequest(b"1", 60, "very-low", "a-b_C9")
    assert read(b'{"headers":{"TTL":60}}').ttl == 60
    assert read(b'{"headers":null}').ttl == MAX_TTL_SECONDS


def test_a_ttl_beyond_four_weeks_is_four_weeks() -> None:
    assert read(b'{"headers":{"TTL":"99999999999"}}').ttl == MAX_TTL_SECONDS
    assert read(b'{"headers":{"TTL":0}}').ttl == 0


@pytest.mark.parametrize(
    ("headers", "where"),
    [
        (b'{"TTL":"-1"}', ".headers.TTL"),
        (b'{"TTL":-1}', ".headers.TTL"),
        (b'{"TTL":"1.5"}', ".headers.TTL"),
        (b'{"TTL":1.5}', ".headers[...]"),
        (b'{"TTL":""}', ".headers.TTL"),
        (b'{"TTL":"\xd9\xa1"}', ".headers.TTL"),
        (b'{"Urgency":"urgent"}', ".headers.Urgency"),
        (b'{"Topic":""}', ".headers.Topic"),
        (b'{"Topic":"no spaces"}', ".headers.Topic"),
        (b'{"Topic":"line\\n"}', ".headers.Topic"),
        (b'{"Topic":"' + b"x" * 33 + b'"}', ".headers.Topic"),
        (b'{"Authorization":"mine"}', ".headers"),
        (b'{"TTL":1,"ttl":2}', ".headers.ttl"),
        (b"[]", ".headers"),
    ],
)
def test_headers_that_no_service_takes_are_refused(headers: bytes, where: str) -> None:
    assert refusal(b'{"headers":' + headers + b"}").path == f"notification.webpush{where}"


def test_3993_bytes_are_the_most() -> None:
    assert len(read(b'{"payload":"' + b"x" * 3993 + b'"}').payload) == 3993
    error = refusal(b'{"payload":"' + b"x" * 3994 + b'"}')
    assert error.too_large
    assert "3994 bytes" in error.detail


def test_bytes_are_counted_and_not_characters() -> None:
    assert refusal(b'{"payload":"' + "é".encode() * 1997 + b'"}').too_large


@pytest.mark.parametrize("raw", [b"null", b"[]", b'"text"', b"{", b'{"payload":"\\ud800"}', b'{"payload":}'])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    assert not refusal(raw).too_large
