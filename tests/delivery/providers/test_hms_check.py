"""Trying an HMS credential without a message to anybody."""

import json

import pytest

from tests.delivery.providers.company import Said
from tests.delivery.providers.huawei import a_huawei, provider_of, said


async def test_a_check_names_each_step() -> None:
    async with a_huawei() as huawei, provider_of(huawei) as provider:
        huawei.illegal = {"tocsin-check"}
        steps = await provider.check()
    assert json.loads(huawei.requests[0].body) == {
        "validate_only": True,
        "message": {"data": "tocsin-check", "token": ["tocsin-check"]},
    }
    assert steps == {
        "authorization": "ok: access token fetched",
        "connect": f"ok: 127.0.0.1:{huawei.port}",
        "request": "ok: the credential is accepted",
    }


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (said("80000000"), "ok: the credential is accepted"),
        (said("80100001", status=400), "ok: the credential is accepted"),
        (said("80300002"), "refused: 80300002 200"),
        (said("81000001"), "refused: 81000001 200"),
        (Said(404), "refused: HTTP_404"),
        (Said(drop=True), "no answer: connection lost: RemoteProtocolError"),
    ],
)
async def test_a_check_says_what_was_answered(answer: Said, verdict: str) -> None:
    async with a_huawei(answer) as huawei, provider_of(huawei) as provider:
        assert (await provider.check())["request"] == verdict


async def test_a_check_says_that_the_secret_is_refused() -> None:
    async with a_huawei() as huawei, provider_of(huawei, app_secret="another") as provider:
        steps = await provider.check()
    assert steps == {"authorization": f"refused: OAuth_1101_20155 (127.0.0.1:{huawei.port})"}


async def test_a_check_says_that_nobody_answers() -> None:
    async with a_huawei() as nobody:
        pass
    async with a_huawei() as huawei:
        async with provider_of(huawei, endpoint=nobody.url) as provider:
            assert (await provider.check())["connect"].startswith("no connection: ConnectError")
        async with provider_of(huawei, token_url=nobody.url) as provider:
            assert (await provider.check())["authorization"].startswith("no answer: ConnectError")
