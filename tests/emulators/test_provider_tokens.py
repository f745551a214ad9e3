"""Provider tokens: which are valid, and how often a connection may change them."""

import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from emulators.apns import ApnsEmulator
from emulators.provider_tokens import ProviderKey, ProviderSession, ProviderTokens
from tests.emulators.wire import WireClient, connected, provider_token

NOW = 1_800_000_000.0


class Provider:
    """A team with one key."""

    def __init__(self, key_id: str = "KEYKEYKEY1", team_id: str = "TEAMTEAM01") -> None:
        self.key_id, self.team_id = key_id, team_id
        self._key = ec.generate_private_key(ec.SECP256R1())

    def token(self, *, headers: dict[str, Any] | None = None, algorithm: str = "ES256", **claims: Any) -> str:
        payload = {"iss": self.team_id, "iat": int(NOW)} | claims
        key: Any = self._key if algorithm == "ES256" else "x" * 32
        return "bearer " + jwt.encode(payload, key, algorithm=algorithm, headers=headers or {"kid": self.key_id})

    def known(self, **more: Any) -> ProviderKey:
        public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return ProviderKey(key_id=self.key_id, team_id=self.team_id, public_pem=public.decode(), **more)


@pytest.fixture(scope="module")
def provider() -> Provider:
    return Provider()


def check(
    desk: ProviderTokens, token: str, *, after: float = 0.0, session: ProviderSession | None = None
) -> str | None:
    return desk.check(token, session or ProviderSession(), NOW + after)


def test_a_registered_key_is_accepted(provider: Provider) -> None:
    assert check(ProviderTokens("production", [provider.known()]), provider.token()) is None


def test_a_forged_signature_is_invalid(provider: Provider) -> None:
    forger = Provider()
    desk = ProviderTokens("production", [provider.known()])
    assert check(desk, forger.token()) == "InvalidProviderToken"


def test_a_registered_key_of_another_team_is_invalid(provider: Provider) -> None:
    desk = ProviderTokens("production", [provider.known()])
    assert check(desk, provider.token(iss="OTHERTEAM1")) == "InvalidProviderToken"


def test_an_unknown_key_is_accepted_for_its_structure(provider: Provider) -> None:
    assert check(ProviderTokens("production"), provider.token()) is None


def test_an_unknown_key_can_be_refused(provider: Provider) -> None:
    desk = ProviderTokens("production", accept_unknown_keys=False)
    assert check(desk, provider.token()) == "InvalidProviderToken"


@pytest.mark.parametrize(
    "changes",
    [
        {"iat": "1800000000"},
        {"iat": NOW + 0.5},
        {"iat": True},
        {"iat": None},
        {"iss": ""},
        {"headers": {"typ": "JWT"}},
        {"algorithm": "HS256"},
        {"iat": int(NOW) + 3600},
    ],
)
def test_a_malformed_token_is_invalid(provider: Provider, changes: dict[str, Any]) -> None:
    assert check(ProviderTokens("production"), provider.token(**changes)) == "InvalidProviderToken"


def test_a_token_lives_for_an_hour(provider: Provider) -> None:
    desk = ProviderTokens("production", [provider.known()])
    assert check(desk, provider.token(), after=3600) is None
    assert check(desk, provider.token(), after=3601) == "ExpiredProviderToken"


def test_the_time_scale_shortens_the_hour(provider: Provider) -> None:
    desk = ProviderTokens("production", time_scale=0.01)
    assert check(desk, provider.token(), after=37) == "ExpiredProviderToken"


def test_a_second_new_token_within_20_minutes_is_one_too_many(provider: Provider) -> None:
    desk, session = ProviderTokens("production"), ProviderSession()
    first, second = provider.token(), provider.token(iat=int(NOW) + 1)
    assert check(desk, first, session=session) is None
    assert check(desk, second, after=1199, session=session) == "TooManyProviderTokenUpdates"
    assert check(desk, first, after=1199, session=session) is None
    assert check(desk, second, after=1200, session=session) is None


def test_the_time_scale_shortens_the_20_minutes(provider: Provider) -> None:
    desk, session = ProviderTokens("production", time_scale=0.5), ProviderSession()
    assert check(desk, provider.token(), session=session) is None
    assert check(desk, provider.token(iat=int(NOW) + 1), after=601, session=session) is None


def test_another_connection_may_bring_another_token(provider: Provider) -> None:
    desk = ProviderTokens("production")
    assert check(desk, provider.token()) is None
    assert check(desk, provider.token(iat=int(NOW) + 1)) is None


def test_a_key_of_the_other_environment_is_refused(provider: Provider) -> None:
    desk = ProviderTokens("production", [provider.known(environment="sandbox")])
    assert check(desk, provider.token()) == "BadEnvironmentKeyIdInToken"


def test_a_connection_belongs_to_one_team(provider: Provider) -> None:
    desk, session = ProviderTokens("production"), ProviderSession()
    stranger = Provider(team_id="OTHERTEAM1")
    assert check(desk, provider.token(), session=session) is None
    assert check(desk, stranger.token(), session=session) == "InvalidProviderToken"


def test_a_topic_scoped_key_shares_its_connection_with_no_other_key(provider: Provider) -> None:
    other = Provider("KEYKEYKEY2")
    desk = ProviderTokens("production", [provider.known(), other.known(topics=("com.example.tocsin",))])
    session = ProviderSession()
    assert check(desk, provider.token(), session=session) is None
    assert check(desk, other.token(), session=session) == "UnrelatedKeyIdInToken"


async def test_the_ready_key_signs_valid_tokens(apns: ApnsEmulator, device: WireClient) -> None:
    assert (await device.pushed()).status == 200
    assert apns.counters().distinct_provider_tokens == 1


async def test_a_forgery_of_the_ready_key_is_refused(apns: ApnsEmulator) -> None:
    forger = Provider(apns.signing_key().key_id, apns.signing_key().team_id)
    async with connected(apns, forger.token(iat=int(time.time()))) as client:
        response = await client.pushed()
        assert (response.status, response.reason) == (403, "InvalidProviderToken")


async def test_an_old_token_is_expired(apns: ApnsEmulator, device: WireClient) -> None:
    old = provider_token(apns.signing_key(), age_seconds=3700)
    response = await device.pushed(authorization=old)
    assert (response.status, response.reason) == (403, "ExpiredProviderToken")


async def test_too_many_new_tokens_answer_429(apns: ApnsEmulator, device: WireClient) -> None:
    await device.pushed()
    response = await device.pushed(authorization=provider_token(apns.signing_key(), age_seconds=5))
    assert (response.status, response.reason) == (429, "TooManyProviderTokenUpdates")
    assert apns.counters().distinct_provider_tokens == 2


async def test_a_topic_scoped_key_may_send_to_its_topics_only(apns: ApnsEmulator) -> None:
    scoped = Provider()
    apns.register_key(scoped.known(topics=("com.example.tocsin",)))
    async with connected(apns, scoped.token(iat=int(time.time()))) as client:
        assert (await client.pushed()).status == 200
        assert (await client.pushed(apns_topic="com.example.other")).reason == "TopicDisallowed"


async def test_a_client_certificate_needs_no_token_and_no_topic(apns: ApnsEmulator, tmp_path: Any) -> None:
    path = tmp_path / "client.pem"
    path.write_text(apns.authority.client_certificate("com.example.tocsin"))
    tls = apns.authority.client_context()
    tls.load_cert_chain(path)
    async with connected(apns, "", tls) as client:
        assert (await client.pushed(authorization=None, apns_topic=None)).status == 200
        response = await client.pushed(authorization=None, apns_topic="com.example.other")
        assert response.reason == "TopicDisallowed"
