"""Access tokens of Huawei, from a real HTTP server on loopback."""

import asyncio
from typing import Any

import pytest

from delivery.providers.hms_token import HmsTokens
from delivery.providers.oauth_token import AHEAD_SECONDS, TokenError
from tests.delivery.providers.company import Said
from tests.delivery.providers.huawei import APP_ID, SECRET, Huawei, a_huawei
from tests.delivery.providers.sending import until


def tokens_of(huawei: Huawei, **changes: Any) -> HmsTokens:
    return HmsTokens(APP_ID, SECRET, url=f"{huawei.url}/oauth2/v3/token", **changes)


async def error_of(grant: Said) -> TokenError:
    async with a_huawei() as huawei:
        huawei.grants = [grant]
        tokens = tokens_of(huawei)
        with pytest.raises(TokenError) as caught:
            await tokens.wait()
        await tokens.close()
    return caught.value


async def test_a_token_is_asked_for_with_the_apps_id_and_secret() -> None:
    async with a_huawei() as huawei:
        tokens = tokens_of(huawei)
        assert await tokens.wait() == b"CgB6/1=="
        assert tokens.current() == b"CgB6/1=="
        await tokens.close()
    assert huawei.fetches == [{"grant_type": ["client_credentials"], "client_id": [APP_ID], "client_secret": [SECRET]}]


async def test_a_token_near_its_end_is_renewed_while_it_still_serves() -> None:
    now = [1_000.0]
    async with a_huawei() as huawei:
        tokens = tokens_of(huawei, clock=lambda: now[0])
        first = await tokens.wait()
        now[0] += 3600 - AHEAD_SECONDS - 1
        assert tokens.current() == first
        assert len(huawei.fetches) == 1
        now[0] += 2
        assert tokens.current() == first
        await until(lambda: tokens.current() != first)
        await tokens.close()
    assert len(huawei.fetches) == 2


async def test_a_token_past_its_end_is_not_used() -> None:
    now = [1_000.0]
    async with a_huawei() as huawei:
        tokens = tokens_of(huawei, clock=lambda: now[0])
        await tokens.wait()
        now[0] += 3600
        assert tokens.current() is None
        await tokens.close()


@pytest.mark.parametrize("life", [0, -5, 1e300])
async def test_a_life_without_sense_is_kept_within_bounds(life: float) -> None:
    async with a_huawei() as huawei:
        huawei.grants = [Said(200, b'{"access_token":"a","expires_in":%d}' % life)]
        tokens = tokens_of(huawei, clock=lambda: 1_000.0)
        _, ends_at = await tokens.obtain()
    assert ends_at == 1_000.0 + (86_400 if life > 0 else 0)


async def test_an_answer_that_is_numbers_as_text_is_read() -> None:
    async with a_huawei() as huawei:
        huawei.grants = [Said(200, b'{"access_token":"a","expires_in":"60"}'), Said(200, b'{"access_token":"b"}')]
        tokens = tokens_of(huawei, clock=lambda: 1_000.0)
        assert await tokens.obtain() == (b"a", 1_060.0)
        assert await tokens.obtain() == (b"b", 4_600.0)


@pytest.mark.parametrize(
    ("grant", "reason"),
    [
        (Said(400, b'{"error":1101,"sub_error":20155,"error_description":"x"}'), "OAuth_1101_20155"),
        (Said(401, b'{"error":"1203"}'), "OAuth_1203"),
        (Said(400, b'{"error":"invalid_client"}'), "invalid_client"),
        (Said(200, b'{"error":1101,"sub_error":"not a word"}'), "OAuth_1101"),
    ],
)
async def test_an_issuer_that_names_an_error_refuses_the_app(grant: Said, reason: str) -> None:
    error = await error_of(grant)
    assert (error.reason, error.refused) == (reason, True)


@pytest.mark.parametrize(
    ("grant", "reason"),
    [
        (Said(500, b'{"error":1301}'), "OAuth_1301"),
        (Said(429, b'{"error":1302}'), "OAuth_1302"),
        (Said(502, b"<html>"), "HTTP_502"),
        (Said(407, b""), "HTTP_407"),
        (Said(302, b"", "location: http://127.0.0.1:1/\r\n"), "HTTP_302"),
        (Said(400, b'{"error":"a sentence, with spaces"}'), "HTTP_400"),
        (Said(200, b"<html>"), "UnreadableAnswer"),
        (Said(200, b"\xff"), "UnreadableAnswer"),
        (Said(200, b'{"access_token":""}'), "UnreadableAnswer"),
        (Said(200, b'{"access_token":"two\\r\\nlines"}'), "UnreadableAnswer"),
        (Said(200, b'{"access_token":"%b"}' % (b"x" * 5000)), "UnreadableAnswer"),
        (Said(200, b" " * 100_000), "UnreadableAnswer"),
        (Said(drop=True), "RemoteProtocolError"),
    ],
)
async def test_other_trouble_may_pass(grant: Said, reason: str) -> None:
    error = await error_of(grant)
    assert (error.reason, error.refused) == (reason, False)


async def test_an_issuer_that_does_not_answer_is_not_waited_for_longer_than_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("delivery.providers.hms_token.HTTP_TIMEOUT_SECONDS", 0.1)
    async with a_huawei() as huawei:
        huawei.hold_grants.clear()
        tokens = tokens_of(huawei)
        with pytest.raises(TokenError, match="Timeout"):
            await tokens.wait()
        await tokens.close()


async def test_those_who_wait_are_told_when_it_is_closed() -> None:
    async with a_huawei() as huawei:
        huawei.hold_grants.clear()
        tokens = tokens_of(huawei)
        waiting = asyncio.ensure_future(tokens.wait())
        await huawei.asked(1)
        await tokens.close()
        with pytest.raises(TokenError, match="Closed"):
            await waiting
        assert tokens.current() is None


async def test_neither_secret_nor_token_is_printed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "delivery")
    async with a_huawei() as huawei:
        tokens = tokens_of(huawei, proxy="")
        huawei.grants = [Said(400, b'{"error":1101}')]
        with pytest.raises(TokenError):
            await tokens.wait()
        await tokens.wait()
        text = repr(tokens) + "".join(str(record.__dict__) for record in caplog.records)
        await tokens.close()
    assert "OAuth_1101" in text
    assert SECRET not in text
    assert "CgB6" not in text
