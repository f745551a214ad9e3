"""A client of HMS written from Huawei's documentation, on httpx; no library for Python is published."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from emulators.hms import APP_ID, HmsEmulator


class HmsClient:
    """Asks for an access token, sends, and asks again when it has expired."""

    def __init__(self, http: httpx.AsyncClient, app_id: str, app_secret: str) -> None:
        self.http = http
        self.app_id = app_id
        self.app_secret = app_secret
        self.token = ""

    async def authorize(self) -> httpx.Response:
        form = {"grant_type": "client_credentials", "client_id": self.app_id, "client_secret": self.app_secret}
        response = await self.http.post("/oauth2/v3/token", data=form)
        self.token = response.json().get("access_token", "")
        return response

    async def call(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        for _ in range(2):
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json; charset=UTF-8"}
            response = await self.http.post(f"/v1/{self.app_id}/{verb}", json=body, headers=headers)
            answer: dict[str, Any] = response.json()
            if answer["code"] != "80200003":
                break
            await self.authorize()
        return answer


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
async def client(hms: HmsEmulator, request: pytest.FixtureRequest) -> AsyncIterator[HmsClient]:
    http2 = request.param == "HTTP/2"
    tls = hms.authority.client_context(("h2", "http/1.1") if http2 else ("http/1.1",))
    async with httpx.AsyncClient(http2=http2, verify=tls, base_url=hms.url, trust_env=False) as http:
        made = HmsClient(http, APP_ID, hms.app_secret())
        response = await made.authorize()
        assert response.http_version == request.param
        yield made


async def test_a_notification_is_sent_with_the_ready_app(hms: HmsEmulator, client: HmsClient) -> None:
    android = {"urgency": "NORMAL", "ttl": "10000s", "notification": {"click_action": {"type": 3}}}
    message = {"notification": {"title": "t", "body": "b"}, "android": android, "token": ["one", "two"]}
    answer = await client.call("messages:send", {"validate_only": False, "message": message})
    assert (answer["code"], answer["msg"]) == ("80000000", "Success")
    assert hms.requests("two")[0].payload == {"validate_only": False, "message": message}


async def test_an_expired_token_is_renewed(hms: HmsEmulator, client: HmsClient) -> None:
    hms.expire_access_tokens()
    assert (await client.call("messages:send", {"message": {"data": "x", "token": ["t"]}}))["code"] == "80000000"
    assert hms.counters().by_kind["oauth"] == 2
    assert hms.counters().distinct_provider_tokens == 2


async def test_the_secret_is_not_shown(hms: HmsEmulator, client: HmsClient) -> None:
    [recorded] = hms.requests()
    assert recorded.kind == "oauth"
    assert "client_secret=(hidden)" in str(recorded.payload)
    assert client.app_secret not in str(recorded)


async def test_an_access_token_lives_for_an_hour(client: HmsClient) -> None:
    answer = (await client.authorize()).json()
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)


@pytest.mark.parametrize("wrong", [{"app_secret": "x"}, {"app_id": "1"}, {"app_secret": ""}])
async def test_a_wrong_secret_gets_no_token(client: HmsClient, wrong: dict[str, str]) -> None:
    for name, value in wrong.items():
        setattr(client, name, value)
    response = await client.authorize()
    assert (response.status_code, response.json()["error"], client.token) == (400, 1101, "")


async def test_another_grant_gets_no_token(client: HmsClient) -> None:
    response = await client.http.post("/oauth2/v3/token", data={"grant_type": "password"})
    assert (response.status_code, response.json()["error"]) == (400, 1102)
    assert (await client.http.get("/oauth2/v3/token")).status_code == 405


async def test_the_token_endpoint_fails_on_demand(hms: HmsEmulator, client: HmsClient) -> None:
    rule = {"match": {"path_prefix": "/oauth2/"}, "action": {"status": 503, "body": "{}"}}
    hms.set_faults([rule])
    assert (await client.authorize()).status_code == 503


async def test_devices_subscribe_to_topics(hms: HmsEmulator, client: HmsClient) -> None:
    hms.set_tokens({"gone": {"state": "illegal"}})
    answer = await client.call("topic:subscribe", {"topic": "news", "tokenArray": ["a", "gone", "b"]})
    assert (answer["successCount"], answer["failureCount"]) == (2, 1)
    assert answer["errors"] == [{"index": 1, "reason": "the token is illegal"}]
    listed = await client.call("topic:list", {"token": "a"})
    assert [topic["name"] for topic in listed["topics"]] == ["news"]
    await client.call("topic:unsubscribe", {"topic": "news", "tokenArray": ["a"]})
    assert (hms.topics_of("a"), hms.topics_of("b")) == ([], ["news"])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"topic": "a b", "tokenArray": ["a"]}, "80100001"),
        ({"topic": "a", "tokenArray": []}, "80300010"),
        ({"topic": "a"}, "80100003"),
    ],
)
async def test_a_wrong_subscription_is_refused(client: HmsClient, body: dict[str, Any], code: str) -> None:
    assert (await client.call("topic:subscribe", body))["code"] == code


async def test_the_control_port_says_how_to_use_it(hms: HmsEmulator) -> None:
    async with httpx.AsyncClient(base_url=hms.control_url, trust_env=False) as control:
        described = (await control.get("/")).json()
    assert (described["app_id"], described["app_secret"]) == (APP_ID, hms.app_secret())
    assert described["token_url"] == hms.url + "/oauth2/v3/token"
