"""VAPID: the example of RFC 8292, tokens that all processes make alike, and how long they serve."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02

from delivery.providers.webpush_credential import load_vapid_key
from delivery.providers.webpush_vapid import (
    MOST_AUDIENCES,
    SLOT_SECONDS,
    VALID_SECONDS,
    VapidTokens,
    base64url,
    generate_pair,
    public_point,
    token,
)
from tests.delivery.providers.push_service import SUBJECT, decoded, verified

EXAMPLE = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE0NTM1MjM3NjgsInN1YiI6"
    "Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDXb1JrErtmysazNjjvW2L9OkSS"
    "HzvoD1oA"
)
EXAMPLE_KEY = "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs"
AUDIENCE = "https://push.example.net"
NOW = 1_700_000_000.0


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def parts_of(authorization: bytes) -> tuple[str, str]:
    assert authorization.startswith(b"vapid t=")
    text, _, public = authorization.decode()[len("vapid t=") :].partition(", k=")
    return text, public


def claims_of(authorization: bytes) -> dict[str, object]:
    text, public = parts_of(authorization)
    return verified(text, decoded(public))


def test_what_is_signed_is_that_of_the_example_of_rfc_8292(key: ec.EllipticCurvePrivateKey) -> None:
    ours = token(key, AUDIENCE, 1453523768, SUBJECT).decode()
    assert ours.rpartition(".")[0] == EXAMPLE.rpartition(".")[0]


def test_the_example_of_rfc_8292_verifies_as_ours_do(key: ec.EllipticCurvePrivateKey) -> None:
    example = claims_of(f"vapid t={EXAMPLE}, k={EXAMPLE_KEY}".encode())
    ours = b"vapid t=" + token(key, AUDIENCE, 1453523768, SUBJECT) + b", k=" + base64url(public_point(key))
    assert claims_of(ours) == example == {"aud": AUDIENCE, "exp": 1453523768, "sub": SUBJECT}


def test_a_foreign_library_takes_the_header(key: ec.EllipticCurvePrivateKey) -> None:
    header = VapidTokens(key, SUBJECT).authorization(AUDIENCE)
    foreign: Any = Vapid02
    assert foreign.verify(header.decode().replace(", k=", ",k="))  # it reads the space as part of the token


def test_processes_that_never_talk_make_the_same_token(key: ec.EllipticCurvePrivateKey) -> None:
    first, second = (VapidTokens(key, SUBJECT, clock=lambda at=at: at) for at in (NOW, NOW + 100))  # type: ignore[misc]
    assert first.authorization(AUDIENCE) == second.authorization(AUDIENCE)


def test_each_audience_has_a_token_of_its_own(key: ec.EllipticCurvePrivateKey) -> None:
    tokens = VapidTokens(key, SUBJECT)
    assert claims_of(tokens.authorization("https://a.example"))["aud"] == "https://a.example"
    assert claims_of(tokens.authorization("https://b.example"))["aud"] == "https://b.example"


def test_a_token_serves_for_eleven_hours_and_is_valid_for_an_hour_or_more(key: ec.EllipticCurvePrivateKey) -> None:
    now = [NOW]
    tokens = VapidTokens(key, SUBJECT, clock=lambda: now[0])
    seen: dict[bytes, list[float]] = {}
    for minute in range(0, 3 * 24 * 60, 7):
        now[0] = NOW + minute * 60
        seen.setdefault(tokens.authorization(AUDIENCE), []).append(now[0])
    for made, times in seen.items():
        expires_at = claims_of(made)["exp"]
        assert isinstance(expires_at, int)
        assert expires_at - times[0] <= VALID_SECONDS
        assert expires_at - times[-1] >= 3600
        assert times[-1] - times[0] <= SLOT_SECONDS
    assert len(seen) == 7


def test_the_same_value_is_the_same_object(key: ec.EllipticCurvePrivateKey) -> None:
    tokens = VapidTokens(key, SUBJECT)
    assert tokens.authorization(AUDIENCE) is tokens.authorization(AUDIENCE)


def test_a_clock_that_is_set_back_makes_no_new_token(key: ec.EllipticCurvePrivateKey) -> None:
    now = [NOW]
    tokens = VapidTokens(key, SUBJECT, clock=lambda: now[0])
    first = tokens.authorization(AUDIENCE)
    now[0] -= SLOT_SECONDS
    assert tokens.authorization(AUDIENCE) is first


def test_the_audiences_used_last_are_kept(key: ec.EllipticCurvePrivateKey) -> None:
    tokens = VapidTokens(key, SUBJECT, clock=lambda: NOW)
    kept = tokens.authorization("https://kept.example")
    dropped = tokens.authorization("https://dropped.example")
    for number in range(MOST_AUDIENCES - 1):
        tokens.authorization(f"https://{number}.example")
        assert tokens.authorization("https://kept.example") is kept
    again = tokens.authorization("https://dropped.example")
    assert again == dropped
    assert again is not dropped


def test_a_generated_pair_belongs_together() -> None:
    public, private = generate_pair()
    assert base64url(public_point(load_vapid_key(private))).decode() == public
    assert len(decoded(public)) == 65
    assert len(decoded(private)) == 32
    assert generate_pair() != (public, private)


def test_a_pair_verifies_itself(key: ec.EllipticCurvePrivateKey) -> None:
    tokens = VapidTokens(key, SUBJECT)
    assert tokens.verifies()
    assert SUBJECT not in repr(tokens)
