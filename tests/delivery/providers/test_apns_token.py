"""The provider token: the same bytes in every process, and never more of them than Apple takes."""

import base64

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from delivery.providers.apns_token import ApnsTokens

SLOT = 3000
START = 1_000_000 * SLOT


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def clock() -> Clock:
    return Clock(START + 100.0)


@pytest.fixture
def tokens(key: ec.EllipticCurvePrivateKey, clock: Clock) -> ApnsTokens:
    return ApnsTokens(key, "KEY4567890", "TEAM567890", clock=clock)


def part(token: bytes, index: int) -> bytes:
    text = token.split(b".")[index]
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def issued_at(token: bytes) -> int:
    claims = msgspec.json.decode(part(token, 1), type=dict[str, object])
    assert isinstance(claims["iat"], int)
    return claims["iat"]


def test_two_processes_sign_the_same_token_anywhere_in_a_slot(key: ec.EllipticCurvePrivateKey) -> None:
    first = ApnsTokens(key, "KEY4567890", "TEAM567890", clock=lambda: START + 1.5)
    second = ApnsTokens(key, "KEY4567890", "TEAM567890", clock=lambda: START + SLOT - 0.5)
    assert first.current() == second.current()


def test_the_token_says_what_apple_asks_for(tokens: ApnsTokens) -> None:
    token = tokens.current()
    assert msgspec.json.decode(part(token, 0)) == {"alg": "ES256", "kid": "KEY4567890"}
    assert msgspec.json.decode(part(token, 1)) == {"iss": "TEAM567890", "iat": START}


def test_the_signature_is_r_and_s_side_by_side(key: ec.EllipticCurvePrivateKey, tokens: ApnsTokens) -> None:
    token = tokens.current()
    signature = part(token, 2)
    assert len(signature) == 64
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    signed = token.rpartition(b".")[0]
    key.public_key().verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))


def test_a_token_is_kept_to_the_end_of_its_slot(tokens: ApnsTokens, clock: Clock) -> None:
    first = tokens.current()
    clock.now = START + SLOT - 0.1
    assert tokens.current() is first
    clock.now = START + SLOT
    assert issued_at(tokens.current()) == START + SLOT


def test_the_length_of_a_slot_can_be_set(key: ec.EllipticCurvePrivateKey) -> None:
    tokens = ApnsTokens(key, "KEY4567890", "TEAM567890", slot_seconds=1800.0, clock=lambda: 1800.0 * 7 + 5)
    assert issued_at(tokens.current()) == 1800 * 7


def test_an_expired_token_is_replaced_by_one_of_now(tokens: ApnsTokens, clock: Clock) -> None:
    renewed = tokens.renew(tokens.current())
    assert renewed is not None
    assert issued_at(renewed) == int(clock.now)
    assert tokens.current() == renewed


def test_a_token_that_is_not_the_current_one_is_replaced_by_the_current_one(tokens: ApnsTokens) -> None:
    old = tokens.current()
    renewed = tokens.renew(old)
    assert tokens.renew(old) == renewed


def test_a_second_renewal_within_twenty_minutes_is_refused(tokens: ApnsTokens, clock: Clock) -> None:
    renewed = tokens.renew(tokens.current())
    assert renewed is not None
    clock.now += 1199.0
    assert tokens.renew(renewed) is None
    clock.now += 2.0
    assert tokens.renew(renewed) is not None


def test_a_slot_that_begins_soon_after_a_renewal_waits_for_twenty_minutes(tokens: ApnsTokens, clock: Clock) -> None:
    clock.now = START + SLOT - 60.0
    renewed = tokens.renew(tokens.current())
    clock.now = START + SLOT + 10.0
    assert tokens.current() == renewed
    clock.now = START + SLOT - 60.0 + 1200.0
    assert issued_at(tokens.current()) == START + SLOT


def test_nothing_is_signed_for_twenty_minutes_after_too_many_updates(tokens: ApnsTokens, clock: Clock) -> None:
    clock.now = START + SLOT - 60.0
    token = tokens.current()
    tokens.hold()
    clock.now += 1199.0
    assert tokens.current() is token
    assert tokens.renew(token) is None
    clock.now += 1.0
    assert issued_at(tokens.current()) == START + SLOT
