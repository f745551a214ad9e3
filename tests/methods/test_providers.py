"""The methods of named credentials, on a real database and against emulated push services."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from delivery.guard import Allowed
from delivery.providers.credentials import parse_credential
from emulators.apns import ApnsEmulator
from emulators.fcm import FcmEmulator
from emulators.hms import HmsEmulator
from emulators.webpush import WebpushEmulator
from methods import providers
from methods.context import Context
from methods.errors import BadRequestError, ConflictError, NotAvailableError, NotFoundError
from methods.table import table_of
from server.validation import decode
from storage import credentials
from storage.database import Database
from storage.vault import Vault
from tests.delivery.providers.sending import apns_params, fault, fcm_params
from tests.delivery.providers.test_provider_credentials import (
    APNS,
    BY_CERTIFICATE,
    FCM,
    HMS,
    PRIVATE_KEY,
    PUBLIC_KEY,
    WEBPUSH,
)

TABLE = table_of((providers,))
Call = Callable[..., Awaitable[Any]]


@pytest.fixture
def ask(context: Callable[..., Context]) -> Call:
    """Calls a method of this room by name."""
    return caller(context)


def caller(context: Callable[..., Context], allowed: Allowed = Allowed()) -> Call:  # noqa: B008 - it is frozen
    async def call(name: str, **params: Any) -> Any:
        body = json.dumps(params).encode()
        method = TABLE[name]
        ctx = replace(context(body), private_hosts=allowed)
        return json.loads(msgspec.json.encode(await method.handler(ctx, decode(method, body))))

    return call


async def pause(database: Database, provider_id: str, scope: str = "") -> None:
    async with database.connection() as connection:
        await connection.execute(
            "insert into pauses (credential, scope, kind, reason, since, next_probe_at)"
            " values (%s, %s, 'trouble', 'InvalidProviderToken', to_timestamp(1000), to_timestamp(2000))",
            (provider_id, scope),
        )


async def defaults(ask: Call) -> dict[str, bool]:
    listed = await ask("provider_list")
    return {item["provider_id"]: item.get("is_default", False) for item in listed["items"]}


async def test_what_is_put_is_listed_without_its_secrets(ask: Call) -> None:
    put = await ask("provider_put", **APNS, endpoint="https://gateway.example/apns/", mutable_content=True)
    listed = await ask("provider_list")
    assert listed == {"items": [put]}
    assert put | {"created_at": 0, "updated_at": 0} == {
        "provider_id": "main",
        "provider": "apns",
        "state": "active",
        "is_default": True,
        "source": "api",
        "environment": "production",
        "bundle_id": "com.example.app",
        "key_id": "KEY4567890",
        "team_id": "TEAM567890",
        "endpoint": "https://gateway.example/apns",
        "transport": "http2",
        "mutable_content": True,
        "created_at": 0,
        "updated_at": 0,
    }


async def test_a_certificate_is_listed_by_fingerprint_and_end(ask: Call) -> None:
    put = await ask("provider_put", **BY_CERTIFICATE)
    assert set(put["certificate"]) == {"fingerprint", "subject", "expires_at"}
    assert "PRIVATE" not in json.dumps(put)


async def test_a_service_account_is_listed_by_project(ask: Call) -> None:
    put = await ask("provider_put", **FCM, include_notification=False, proxy="http://me:secret@proxy:8080")
    assert (put["project_id"], put["proxy"]) == ("my-project", "http://proxy:8080")
    assert "include_notification" not in put


async def test_secrets_are_sealed_on_disk(ask: Call, database: Database, vault: Vault) -> None:
    await ask("provider_put", **APNS)
    (row,) = await database.values(b"select secrets, settings::text from credentials", {})
    assert b"PRIVATE" not in row[0]
    assert "PRIVATE" not in row[1]
    (loaded,) = await credentials.load(database, vault)
    assert b"PRIVATE" in loaded.secrets
    assert "PRIVATE" not in repr(loaded)


async def test_a_credential_sealed_with_another_key_is_left_out(ask: Call, database: Database) -> None:
    await ask("provider_put", **APNS)
    assert await credentials.load(database, Vault(b"another secret key, also 32 long")) == []


async def test_the_first_of_a_provider_is_its_default_until_another_asks_for_it(ask: Call) -> None:
    await ask("provider_put", **APNS)
    await ask("provider_put", **APNS | {"provider_id": "second"})
    await ask("provider_put", **FCM)
    assert await defaults(ask) == {"main": True, "second": False, "project": True}
    await ask("provider_put", **APNS | {"provider_id": "second"}, default=True)
    assert await defaults(ask) == {"main": False, "second": True, "project": True}


async def test_removing_the_default_promotes_the_oldest(ask: Call) -> None:
    for name in ("one", "two", "three"):
        await ask("provider_put", **APNS | {"provider_id": name}, default=True)
    assert await ask("provider_remove", provider_id="three") == {}
    assert await defaults(ask) == {"one": True, "two": False}


async def test_removing_what_is_not_there_is_not_found(ask: Call) -> None:
    with pytest.raises(NotFoundError):
        await ask("provider_remove", provider_id="nobody")


async def test_a_change_bumps_the_version_and_lifts_the_pauses(ask: Call, database: Database, vault: Vault) -> None:
    await ask("provider_put", **APNS)
    before = (await credentials.load(database, vault))[0].version
    await pause(database, "main")
    await pause(database, "main", "com.example.app.voip")
    (item,) = (await ask("provider_list"))["items"]
    assert item["state"] == "paused"
    assert [found.get("scope", "") for found in item["pauses"]] == ["", "com.example.app.voip"]
    put = await ask("provider_put", **APNS)
    assert put["state"] == "active"
    assert "pauses" not in put
    assert (await credentials.load(database, vault))[0].version > before


async def test_a_pause_of_a_part_leaves_the_credential_active(ask: Call, database: Database) -> None:
    await ask("provider_put", **FCM)
    await pause(database, "project", "ios")
    (item,) = (await ask("provider_list"))["items"]
    assert item["state"] == "active"
    assert item["pauses"][0]["reason"] == "InvalidProviderToken"
    assert (item["pauses"][0]["since"], item["pauses"][0]["next_probe_at"]) == (1000, 2000)


async def test_a_credential_that_cannot_be_used_is_a_bad_request(ask: Call) -> None:
    with pytest.raises(BadRequestError) as caught:
        await ask("provider_put", **APNS | {"key_id": "x"})
    assert caught.value.path == "key_id"
    assert await ask("provider_list") == {"items": []}


async def test_a_transport_that_a_provider_has_not_is_not_available(ask: Call) -> None:
    with pytest.raises(NotAvailableError):
        await ask("provider_put", **WEBPUSH | {"transport": "aioapns"})


async def test_web_push_and_hms_are_listed_without_their_secrets(ask: Call, database: Database) -> None:
    web = await ask("provider_put", **WEBPUSH)
    huawei = await ask("provider_put", **HMS, token_url="https://oauth.example.com/token")
    assert (web["public_key"], web["subject"]) == (PUBLIC_KEY, "mailto:ops@example.com")
    assert (huawei["app_id"], huawei["token_url"]) == ("104856781", "https://oauth.example.com/token")
    shown = json.dumps(await ask("provider_list"))
    stored = await database.values(b"select secrets::text || settings::text from credentials", {})
    for secret in (PRIVATE_KEY, HMS["app_secret"]):
        assert secret not in shown + str(stored)
        assert secret.encode().hex() not in str(stored)


async def test_a_name_belongs_to_one_provider(ask: Call) -> None:
    await ask("provider_put", **APNS)
    with pytest.raises(ConflictError):
        await ask("provider_put", **FCM | {"provider_id": "main"})


async def test_what_the_settings_declare_is_changed_there_only(ask: Call, database: Database, vault: Vault) -> None:
    await credentials.sync_declared(database, vault, [parse_credential(APNS)])
    with pytest.raises(ConflictError):
        await ask("provider_put", **APNS)
    with pytest.raises(ConflictError):
        await ask("provider_remove", provider_id="main")
    assert (await ask("provider_list"))["items"][0]["source"] == "settings"


async def test_emulators_go_with_the_first_real_credential(ask: Call, database: Database, vault: Vault) -> None:
    stand_in = APNS | {"provider_id": "emulator-apns"}
    assert await credentials.put_emulator(database, vault, parse_credential(stand_in))
    assert await credentials.put_emulator(database, vault, parse_credential(FCM | {"provider_id": "emulator-fcm"}))
    assert not await credentials.has_real(database)
    await ask("provider_put", **FCM)
    assert await defaults(ask) == {"project": True}
    assert not await credentials.put_emulator(database, vault, parse_credential(stand_in))
    assert await credentials.has_real(database)


async def test_emulators_can_be_put_again_and_removed(database: Database, vault: Vault) -> None:
    for _ in range(2):
        assert await credentials.put_emulator(database, vault, parse_credential(APNS))
    assert await credentials.remove_emulators(database) == 1


async def test_a_refused_put_leaves_the_emulators(ask: Call, database: Database, vault: Vault) -> None:
    await credentials.put_emulator(database, vault, parse_credential(APNS))
    with pytest.raises(BadRequestError):
        await ask("provider_put", **FCM | {"service_account": {}})
    assert await defaults(ask) == {"main": True}


async def test_declared_credentials_follow_the_settings(ask: Call, database: Database, vault: Vault) -> None:
    await credentials.put_emulator(database, vault, parse_credential(FCM))
    first, second = parse_credential(APNS), parse_credential(APNS | {"provider_id": "second"})
    assert await credentials.sync_declared(database, vault, [first, second]) == ["main", "second"]
    assert await defaults(ask) == {"main": True, "second": False}
    assert await credentials.sync_declared(database, vault, [second]) == ["main"]
    assert await defaults(ask) == {"second": True}
    assert await credentials.sync_declared(database, vault, []) == ["second"]


async def test_a_declared_credential_that_has_not_changed_keeps_its_version(database: Database, vault: Vault) -> None:
    await credentials.sync_declared(database, vault, [parse_credential(APNS)])
    before = (await credentials.load(database, vault))[0].version
    assert await credentials.sync_declared(database, vault, [parse_credential(APNS)]) == []
    assert (await credentials.load(database, vault))[0].version == before
    changed = parse_credential(APNS | {"bundle_id": "com.example.other"})
    assert await credentials.sync_declared(database, vault, [changed]) == ["main"]
    assert (await credentials.load(database, vault))[0].version > before


async def test_a_credential_of_the_api_survives_settings_that_declare_others(
    ask: Call, database: Database, vault: Vault
) -> None:
    await ask("provider_put", **APNS)
    await credentials.sync_declared(database, vault, [parse_credential(FCM)])
    await credentials.sync_declared(database, vault, [])
    assert await defaults(ask) == {"main": True}


async def test_a_check_tries_a_credential_against_its_service(ask: Call) -> None:
    async with ApnsEmulator() as apns, FcmEmulator() as fcm:
        await ask("provider_put", **apns_params(apns))
        await ask("provider_put", **fcm_params(fcm))
        for name in ("main", "project"):
            checked = await ask("provider_check", provider_id=name)
            assert checked["verdict"] == "ok"
            assert [step["step"] for step in checked["steps"]] == ["authorization", "connect", "request"]


async def test_a_check_tries_web_push_and_hms(context: Callable[..., Context]) -> None:
    ask = caller(context, Allowed.parse("localhost"))
    async with WebpushEmulator() as web, HmsEmulator() as huawei:
        pair = web.vapid_pair()
        keys = {"private_key": pair.private_key, "public_key": pair.public_key, "subject": pair.subject}
        await ask("provider_put", **WEBPUSH | keys, endpoint=web.url, tls_ca=web.authority.ca_pem)
        app = {"app_id": huawei.app_id, "app_secret": huawei.app_secret(), "token_url": huawei.token_url}
        await ask("provider_put", **HMS | app, endpoint=huawei.url, tls_ca=huawei.authority.ca_pem)
        found = [await ask("provider_check", provider_id=name) for name in ("web", "huawei")]
    assert [checked["verdict"] for checked in found] == ["ok", "ok"]
    steps = [[step["step"] for step in checked["steps"]] for checked in found]
    assert steps == [["authorization", "connect"], ["authorization", "connect", "request"]]


async def test_a_check_of_web_push_reaches_private_hosts_only_where_that_is_allowed(ask: Call) -> None:
    async with WebpushEmulator() as web:
        await ask("provider_put", **WEBPUSH, endpoint=web.url, tls_ca=web.authority.ca_pem)
        checked = await ask("provider_check", provider_id="web")
    assert (checked["verdict"], checked["steps"][-1]["step"]) == ("failed", "connect")


async def test_a_check_of_web_push_signs_where_there_is_no_service_to_ask(ask: Call) -> None:
    await ask("provider_put", **WEBPUSH)
    checked = await ask("provider_check", provider_id="web")
    assert (checked["verdict"], [step["step"] for step in checked["steps"]]) == ("ok", ["authorization"])


async def test_a_check_of_hms_with_a_wrong_secret_fails_to_authorize(ask: Call) -> None:
    async with HmsEmulator() as huawei:
        app = {"app_id": huawei.app_id, "token_url": huawei.token_url, "endpoint": huawei.url}
        await ask("provider_put", **HMS | app, tls_ca=huawei.authority.ca_pem)
        checked = await ask("provider_check", provider_id="huawei")
    assert (checked["verdict"], checked["steps"][-1]["step"]) == ("failed", "authorization")
    assert checked["steps"][-1]["detail"].startswith("refused: ")


async def test_a_check_says_which_step_failed(ask: Call) -> None:
    async with ApnsEmulator() as apns:
        await ask("provider_put", **apns_params(apns))
        apns.set_faults([fault({"reason": "InvalidProviderToken"})])
        checked = await ask("provider_check", provider_id="main")
    assert checked["verdict"] == "failed"
    assert checked["steps"][-1] == {
        "step": "request",
        "verdict": "failed",
        "detail": "refused: InvalidProviderToken 403",
    }


async def test_a_check_of_a_service_that_cannot_be_reached_fails_to_connect(ask: Call) -> None:
    async with ApnsEmulator() as apns:
        await ask("provider_put", **apns_params(apns))
        where = apns_params(apns)["endpoint"].partition("://")[2]
    checked = await ask("provider_check", provider_id="main")
    assert (checked["verdict"], checked["steps"][-1]["step"]) == ("failed", "connect")
    assert checked["steps"][-1]["detail"].endswith(f" ({where})")


async def test_a_check_of_nothing_is_not_found(ask: Call) -> None:
    with pytest.raises(NotFoundError):
        await ask("provider_check", provider_id="nobody")
