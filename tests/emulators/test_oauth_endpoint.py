"""The emulated token endpoint of Google's OAuth."""

import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from emulators.fcm import FcmEmulator
from emulators.oauth import GRANT_TYPE
from tests.emulators.wire import Response, WireClient

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"


async def exchange(fcm: FcmEmulator, client: WireClient, grant_type: str = GRANT_TYPE, **claims: Any) -> Response:
    account = fcm.service_account()
    now = int(time.time())
    payload = {
        "iss": account["client_email"],
        "scope": SCOPE,
        "aud": "https://oauth2.googleapis.com/token",
        "iat": now,
        "exp": now + 3600,
    }
    assertion = jwt.encode(payload | claims, account["private_key"], algorithm="RS256")
    return await ask(client, grant_type, assertion)


async def ask(client: WireClient, grant_type: str, assertion: str) -> Response:
    form = urlencode({"grant_type": grant_type, "assertion": assertion}).encode()
    return await client.request("/token", form, authorization=None)


async def test_an_assertion_becomes_an_access_token(fcm: FcmEmulator, sender: WireClient) -> None:
    response = await exchange(fcm, sender)
    assert response.status == 200
    assert (response.json["expires_in"], response.json["token_type"]) == (3600, "Bearer")
    sender.authorization = f"Bearer {response.json['access_token']}"
    message = b'{"message":{"token":"abc"}}'
    assert (await sender.request("/v1/projects/tocsin-emulator/messages:send", message)).status == 200
    assert fcm.counters().by_kind == {"oauth": 1, "push": 1}


async def test_the_emulators_own_address_is_an_audience_too(fcm: FcmEmulator, sender: WireClient) -> None:
    assert (await exchange(fcm, sender, aud=fcm.token_url)).status == 200


NOW = int(time.time())
DENIED: list[tuple[dict[str, Any], str]] = [
    ({"grant_type": "password"}, "unsupported_grant_type"),
    ({"scope": "https://www.googleapis.com/auth/drive"}, "invalid_scope"),
    ({"aud": "https://example.com/"}, "invalid_grant"),
    ({"iss": "stranger@example.com"}, "invalid_grant"),
    ({"exp": NOW - 10, "iat": NOW - 100}, "invalid_grant"),
    ({"exp": NOW + 7200}, "invalid_grant"),
    ({"iat": NOW + 1800, "exp": NOW + 3600}, "invalid_grant"),
    ({"iat": "now"}, "invalid_grant"),
]


@pytest.mark.parametrize(("changes", "error"), DENIED)
async def test_a_wrong_assertion_is_denied(
    fcm: FcmEmulator, sender: WireClient, changes: dict[str, Any], error: str
) -> None:
    response = await exchange(fcm, sender, **changes)
    assert (response.status, response.json["error"]) == (400, error)
    assert response.json["error_description"]


async def test_a_forged_assertion_is_denied(fcm: FcmEmulator, sender: WireClient, tmp_path: Path) -> None:
    async with FcmEmulator() as other:
        forged = fcm.service_account() | {"private_key": other.service_account()["private_key"]}
    now = int(time.time())
    payload = {"iss": forged["client_email"], "scope": SCOPE, "aud": fcm.token_url, "iat": now, "exp": now + 60}
    response = await ask(sender, GRANT_TYPE, jwt.encode(payload, forged["private_key"], algorithm="RS256"))
    assert response.json == {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}


async def test_nonsense_is_denied(sender: WireClient) -> None:
    assert (await ask(sender, GRANT_TYPE, "nonsense")).json["error"] == "invalid_grant"


async def test_the_endpoint_can_be_faulted_by_its_path(fcm: FcmEmulator, sender: WireClient) -> None:
    fcm.set_faults([{"match": {"path_prefix": "/token"}, "action": {"status": 503}}])
    assert (await exchange(fcm, sender)).status == 503
