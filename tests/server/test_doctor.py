"""`tocsin doctor`: what it finds, and its exit code."""

import json
from pathlib import Path

import pytest

from server.data_directory import DataDirectory
from server.doctor import examine
from server.settings import read
from storage.database import Database
from tests.server.conftest import Tocsin


def test_doctor_tells_of_a_machine_without_a_database(tocsin: Tocsin) -> None:
    code, out, _ = tocsin("doctor", port="0")
    assert code == 0
    assert "there is none yet" in out


def test_doctor_leaves_an_empty_machine_as_it_is(tocsin: Tocsin, tmp_path: Path) -> None:
    tocsin("doctor", port="0")
    assert not (tmp_path / "data").exists()


def _verdicts(out: str) -> dict[str, str]:
    return {finding["check"]: finding["verdict"] for finding in json.loads(out)}


def test_doctor_finds_a_good_server_good(tocsin: Tocsin, database_url: str) -> None:
    settings = {"database_url": database_url, "port": "0", "secret_key": "k" * 32, "api_key": "a" * 16}
    code, out, _ = tocsin("doctor", "--json", **settings)
    assert code == 0
    assert _verdicts(out) == {
        "settings": "ok",
        "data directory": "ok",
        "secret key": "ok",
        "port": "ok",
        "queue": "ok",
        "database": "ok",
        "clock": "ok",
        "schema": "ok",
        "API keys": "ok",
        "credentials": "warn",
    }


def test_doctor_fails_while_migrations_are_pending(tocsin: Tocsin, empty_database_url: str) -> None:
    code, out, _ = tocsin("doctor", "--json", database_url=empty_database_url, port="0")
    assert code == 1
    assert _verdicts(out)["schema"] == "fail"


def test_doctor_warns_when_it_sees_no_api_key_for_other_hosts_may_have_one(tocsin: Tocsin, database_url: str) -> None:
    code, out, _ = tocsin("doctor", "--json", database_url=database_url, port="0")
    assert code == 0
    assert _verdicts(out)["API keys"] == "warn"


def test_doctor_names_a_variable_at_fault_once(tocsin: Tocsin) -> None:
    code, out, _ = tocsin("doctor", "--json", port="0", apns_key_file="/nowhere/key.p8")
    assert code == 1
    assert out.count("TOCSIN_APNS_KEY_FILE") == 1


def test_doctor_fails_when_the_database_cannot_be_reached(tocsin: Tocsin) -> None:
    code, out, _ = tocsin("doctor", "--json", database_url="postgresql://nobody@127.0.0.1:1/x", port="0")
    assert code == 1
    assert _verdicts(out)["database"] == "fail"


async def _credential(database_url: str) -> None:
    statement = b"""
        insert into credentials (provider_id, provider, is_default, source, settings, secrets)
        values ('apns', 'apns', true, 'api', '{}', '\\x00112233445566778899aabbccddeeff00112233')
    """
    async with Database(database_url) as database:
        await database.execute(statement, {})


async def test_doctor_fails_when_a_credential_was_sealed_with_another_key(
    data_settings: dict[str, str], database_url: str
) -> None:
    await _credential(database_url)
    found = [each async for each in examine(read(data_settings), {}, offline=True)]
    (finding,) = [each for each in found if each.check == "credentials"]
    assert finding.verdict == "fail"
    assert "does not open" in finding.said


@pytest.fixture
def data_settings(tmp_path: Path, database_url: str) -> dict[str, str]:
    """Settings with everything that doctor wants."""
    given = {"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path / "data"), "PORT": "0", "SECRET_KEY": "k" * 32}
    return {f"TOCSIN_{name}": value for name, value in given.items()}


def test_doctor_warns_of_keys_that_others_may_read(tocsin: Tocsin, tmp_path: Path) -> None:
    DataDirectory(tmp_path / "data").save_api_key("tk_x")
    (tmp_path / "data" / "api-key").chmod(0o644)
    out = tocsin("doctor", port="0")[1]
    assert f"chmod 600 {tmp_path / 'data' / 'api-key'}" in out


def test_doctor_names_a_setting_that_does_not_exist(tocsin: Tocsin) -> None:
    assert "did you mean TOCSIN_WORKERS?" in tocsin("doctor", port="0", worker="3")[1]


async def test_doctor_tells_of_devices_that_are_gone(data_settings: dict[str, str], database: Database) -> None:
    await database.execute(b"insert into device_report values ('fcm', '', 'android', 'active', 270, 12, now())", {})
    found = [each async for each in examine(read(data_settings), {}, offline=True)]
    (finding,) = [each for each in found if each.check == "devices"]
    assert finding.verdict == "warn"
    assert finding.said.startswith("12 FCM devices on Android")
    assert "TOCSIN_STALE_DEVICE_DAYS=270" in finding.advice
