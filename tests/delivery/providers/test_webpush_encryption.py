"""Message encryption: the RFCs' worked examples, and what a foreign library reads and makes."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from pywebpush import WebPusher

from delivery.providers.webpush_encryption import (
    MAX_PLAINTEXT_BYTES,
    InvalidKeysError,
    content,
    decode_keys,
    encrypt,
    record_secrets,
)
from tests.delivery.providers.push_service import FOREIGN, Browser, decoded, encoded

BROWSER = Browser()


def key_of(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(decoded(text), "big"), ec.SECP256R1())


def test_a_message_is_encrypted_as_in_the_example_of_rfc_8291() -> None:
    body = encrypt(
        b"When I grow up, I want to be a watermelon",
        decoded("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"),
        decoded("BTBZMqHH6r4Tts7J_aSIgg"),
        salt=decoded("DGv6ra1nlYgDCS1FRnbzlw"),
        key=key_of("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"),
    )
    expected = (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK"
        "6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
    assert encoded(body) == expected


def test_the_receiver_of_the_example_of_rfc_8291_reads_it() -> None:
    browser = Browser(key_of("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"), decoded("BTBZMqHH6r4Tts7J_aSIgg"))
    assert browser.read(encrypt(b"watermelon", browser.point, browser.secret)) == b"watermelon"


def test_content_is_encoded_as_in_the_first_example_of_rfc_8188() -> None:
    body = content(b"I am the walrus", decoded("yqdlZ-tYemfogSmv7Ws5PQ"), decoded("I1BsxtFttlv3u_Oo94xnmw"))
    assert encoded(body) == "I1BsxtFttlv3u_Oo94xnmwAAEAAA-NAVub2qFgBEuQKRapoZu-IxkIva3MEB1PD-ly8Thjg"


def test_the_keys_are_those_of_the_second_example_of_rfc_8188() -> None:
    body = decoded("uNCkWiNYzKTnBN9ji3-qWAAAABkCYTHOG8chz_gnvgOqdGYovxyjuqRyJFjEDyoF1Fvkj6hQPdPHI51OEUKEpgz3SsLWIqS_uA")
    salt, records = body[:16], body[21 + body[20] :]
    key, nonce = record_secrets(decoded("BO3ZVPxUlnLORbVGMpbT1Q"), salt)
    second = nonce[:-1] + bytes((nonce[-1] ^ 1,))
    found = AESGCM(key).decrypt(nonce, records[:25], None), AESGCM(key).decrypt(second, records[25:], None)
    assert [each.rstrip(b"\0")[:-1] for each in found] == [b"I am th", b"e walrus"]


@settings(max_examples=60)
@given(plaintext=st.binary(max_size=MAX_PLAINTEXT_BYTES))
def test_a_foreign_library_reads_every_message(plaintext: bytes) -> None:
    assert BROWSER.read(encrypt(plaintext, BROWSER.point, BROWSER.secret)) == plaintext


@settings(max_examples=60)
@given(
    plaintext=st.binary(min_size=1, max_size=500),  # of nothing it makes no record at all, which it cannot read
    salt=st.binary(min_size=16, max_size=16),
    secret=st.binary(min_size=16, max_size=16),
    number=st.integers(1, 2**255),
)
def test_a_foreign_library_makes_the_same_bytes(plaintext: bytes, salt: bytes, secret: bytes, number: int) -> None:
    key = ec.derive_private_key(number, ec.SECP256R1())
    theirs = FOREIGN.encrypt(plaintext, salt=salt, private_key=key, dh=BROWSER.point, auth_secret=secret)
    assert encrypt(plaintext, BROWSER.point, secret, salt=salt, key=key) == theirs


def test_a_browser_of_the_tests_reads_what_pywebpush_makes() -> None:
    keys = {"p256dh": encoded(BROWSER.point), "auth": encoded(BROWSER.secret)}
    theirs = WebPusher({"endpoint": "https://localhost/x", "keys": keys}).encode(b"hello")
    assert BROWSER.read(theirs["body"]) == b"hello"
    ours = encrypt(b"hello", *decode_keys(keys["p256dh"].encode(), keys["auth"].encode()))
    assert len(ours) == len(theirs["body"])
    assert ours[16:21] == theirs["body"][16:21]


def test_the_largest_message_makes_a_body_of_4096_bytes() -> None:
    assert len(encrypt(b"x" * MAX_PLAINTEXT_BYTES, BROWSER.point, BROWSER.secret)) == 4096


def test_no_two_messages_share_a_key_or_a_salt() -> None:
    bodies = [encrypt(b"same", BROWSER.point, BROWSER.secret) for _ in range(50)]
    assert len({body[:16] for body in bodies}) == len({body[21:86] for body in bodies}) == 50


@pytest.mark.parametrize("padding", ["", "=", "=="])
def test_keys_are_read_with_and_without_padding(padding: str) -> None:
    p256dh, auth = (encoded(raw) + padding for raw in (BROWSER.point, BROWSER.secret))
    assert decode_keys(p256dh.encode(), auth.encode()) == (BROWSER.point, BROWSER.secret)


@pytest.mark.parametrize(
    ("point", "secret", "said"),
    [
        (b"\x04" + b"\1" * 63, b"s" * 16, "uncompressed"),
        (b"", b"s" * 16, "uncompressed"),
        (BROWSER.point, b"s" * 15, "16 bytes"),
        (BROWSER.point, b"", "16 bytes"),
    ],
)
def test_keys_of_a_wrong_size_are_refused(point: bytes, secret: bytes, said: str) -> None:
    with pytest.raises(InvalidKeysError, match=said):
        decode_keys(encoded(point).encode(), encoded(secret).encode())


@pytest.mark.parametrize(
    "point", [b"\x04" + b"\1" * 64, b"\x02" + BROWSER.point[1:], b"\0" * 65, b"\x04" + b"\xff" * 64]
)
def test_a_point_that_is_not_on_the_curve_is_refused(point: bytes) -> None:
    with pytest.raises(InvalidKeysError, match="not a point"):
        encrypt(b"x", point, BROWSER.secret)


def test_what_is_no_base64_is_refused() -> None:
    with pytest.raises(InvalidKeysError):
        decode_keys(b"A", encoded(BROWSER.secret).encode())
