"""The methods of named credentials, on a real database and against emulated push services."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from delivery.providers.credentials import parse_credential
from emulators.apns import ApnsEmulator
from emulators.fcm import FcmEmulator
from methods import providers
from methods.context import Context
from methods.errors import BadRequestError, ConflictError, NotAvailableError, NotFoundError
from methods.table import table_of
from server.validation import decode
from storage import credentials
from storage.database import Database
from storage.vault import Vault
from tests.delivery.providers.sending import apns_params, fault, fcm_params
from tests.delivery.providers.test_provider_credentials import APNS, BY_CERTIFICATE, FCM

TABLE = table_of((providers,))
Call = Callable[..., Awaitable[Any]]


@pytest.fixture
def ask(context: Callable[..., Context]) -> Call:
    """Calls a method of this room by name."""

    async def call(name: str, **params: Any) -> Any:
        body = json.dumps(params).encode()
        method = TABLE[name]
        result = await method.handler(context(body), decode(method, body))
        return json.loads(msgspec.json.encode(result))

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


async def test_a_provider_that_is_still_to_come_is_not_available(ask: Call) -> None:
    with pytest.raises(NotAvailableError):
        await ask("provider_put", provider_id="x", provider="webpush")


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
