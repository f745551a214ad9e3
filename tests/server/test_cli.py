"""The command line in this process: what it prints, and its exit codes."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from delivery.providers.credentials import parse_credential
from server import preparation
from server.cli import main, parser
from server.data_directory import DataDirectory
from server.settings import Settings
from storage import credentials, migrations
from storage.database import Database
from storage.vault import Vault
from tests.delivery.providers.test_provider_credentials import APNS, FCM
from tests.server.conftest import Tocsin


def test_the_help_lists_every_command_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parser().parse_args(["--help"])
    out = capsys.readouterr().out
    for command in ("serve", "work", "migrate", "call", "emulate", "key", "doctor", "examples:", "exit codes"):
        assert command in out


@pytest.mark.parametrize("command", ["serve", "work", "migrate", "call", "key", "doctor"])
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parser().parse_args([command, "--help"])
    assert f"tocsin {command}" in capsys.readouterr().out.partition("example")[2]


@pytest.mark.parametrize("words", [[], ["dance"], ["call"], ["key"], ["key", "create"], ["serve", "--port"]])
def test_wrong_usage_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "usage: tocsin" in capsys.readouterr().err


def test_settings_that_make_no_sense_are_told(tocsin: Tocsin) -> None:
    code, _, err = tocsin("serve", lease_seconds="soon")
    assert code == 1
    assert err.startswith("tocsin: TOCSIN_LEASE_SECONDS: ")


def test_a_setting_that_does_not_exist_is_warned_of(tocsin: Tocsin, empty_database_url: str) -> None:
    code, _, err = tocsin("migrate", database_url=empty_database_url, databse_url="x")
    assert code == 0
    assert "tocsin: warning: TOCSIN_DATABSE_URL is not a setting; did you mean TOCSIN_DATABASE_URL?" in err


def test_a_busy_port_is_told_in_one_line(tocsin: Tocsin, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, err = tocsin("serve", database_url=database_url, port=port)
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith(f"tocsin: port {port} on 127.0.0.1 is in use: stop the program that has it")


def test_a_database_that_is_not_there_is_told_in_one_line_without_its_password(tocsin: Tocsin) -> None:
    code, _, err = tocsin("serve", port="0", database_url="postgresql://tocsin:hunter2@127.0.0.1:1/tocsin")
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith("tocsin: the database cannot be used: ")
    assert "hunter2" not in line


def test_a_data_directory_that_cannot_be_made_is_told_in_one_line(tocsin: Tocsin, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = tocsin("serve", port="0", data_dir=str(tmp_path / "file" / "data"))
    assert code == 1
    (line,) = err.splitlines()
    assert "cannot be written" in line
    assert "TOCSIN_DATA_DIR" in line


def test_a_credential_that_makes_no_sense_is_told_by_its_variable(tocsin: Tocsin, database_url: str) -> None:
    code, _, err = tocsin("serve", port="0", database_url=database_url, fcm_service_account="{}")
    assert code == 1
    assert "TOCSIN_FCM_SERVICE_ACCOUNT" in err


def test_a_file_that_cannot_be_read_is_told_by_its_variable_once(tocsin: Tocsin, database_url: str) -> None:
    code, _, err = tocsin("serve", port="0", database_url=database_url, apns_key_file="/nowhere/key.p8")
    assert code == 1
    assert err == "tocsin: TOCSIN_APNS_KEY_FILE: the file cannot be read: No such file or directory\n"


def test_workers_alone_need_a_database(tocsin: Tocsin) -> None:
    code, _, err = tocsin("work")
    assert code == 1
    assert "TOCSIN_DATABASE_URL" in err


def test_workers_alone_need_the_secret_key(tocsin: Tocsin, database_url: str) -> None:
    code, _, err = tocsin("work", database_url=database_url)
    assert code == 1
    assert "TOCSIN_SECRET_KEY" in err


async def _put(database_url: str, secret_key: str) -> None:
    async with Database(database_url) as database:
        await credentials.put(database, Vault(secret_key.encode()), parse_credential(APNS))


@pytest.mark.parametrize("command", ["work", "serve"])
def test_a_secret_key_that_opens_no_credential_keeps_it_from_starting(
    tocsin: Tocsin, database_url: str, command: str
) -> None:
    asyncio.run(_put(database_url, "k" * 32))
    code, _, err = tocsin(command, database_url=database_url, secret_key="another" * 5, port="0")
    assert code == 1
    (line,) = [line for line in err.splitlines() if line.startswith("tocsin: ")]
    assert line.startswith("tocsin: TOCSIN_SECRET_KEY: it opens none of the credentials in the database")


async def test_a_secret_key_that_opens_one_of_the_credentials_will_do(database: Database) -> None:
    mine = Settings(secret_key="k" * 32)
    await credentials.put(database, Vault(mine.secret_key.encode()), parse_credential(APNS))
    await credentials.put(database, Vault(b"another" * 5), parse_credential(APNS | {"provider_id": "second"}))
    await preparation.require_open(database, mine, {"api"})


async def test_a_declared_credential_gets_over_a_lost_secret_key(database: Database, tmp_path: Path) -> None:
    await credentials.put(database, Vault(b"another" * 5), parse_credential(APNS))
    environ = {"TOCSIN_FCM_SERVICE_ACCOUNT": json.dumps(FCM["service_account"])}
    settings = Settings(secret_key="k" * 32)
    prepared = await preparation.prepare(database, settings, DataDirectory(tmp_path / "data"), environ)
    assert prepared.real


def test_workers_alone_do_not_migrate(tocsin: Tocsin, empty_database_url: str) -> None:
    code, _, err = tocsin("work", database_url=empty_database_url, secret_key="k" * 32)
    assert code == 1
    assert "run `tocsin migrate`" in err


def test_migrate_says_what_it_applied_and_a_second_time_that_nothing_is_pending(
    tocsin: Tocsin, empty_database_url: str
) -> None:
    code, out, _ = tocsin("migrate", database_url=empty_database_url)
    assert code == 0
    assert out.splitlines() == [f"applied {step.version:04} {step.name}" for step in migrations.available()]
    code, out, _ = tocsin("migrate", database_url=empty_database_url)
    assert code == 0
    assert out.startswith("nothing is pending")


def test_migrate_check_exits_with_1_while_something_is_pending(tocsin: Tocsin, empty_database_url: str) -> None:
    assert tocsin("migrate", "--check", database_url=empty_database_url)[0] == 1
    tocsin("migrate")
    assert tocsin("migrate", "--check")[0] == 0


def test_a_key_is_printed_when_it_is_made_and_listed_without_itself(tocsin: Tocsin, database_url: str) -> None:
    code, key, _ = tocsin("key", "create", "backend", database_url=database_url)
    assert code == 0
    assert key.startswith("tk_")
    _, listed, _ = tocsin("key", "list")
    assert listed.startswith("backend ")
    assert key.strip() not in listed


def test_a_revoked_key_is_listed_as_revoked(tocsin: Tocsin, database_url: str) -> None:
    tocsin("key", "create", "backend", database_url=database_url)
    assert tocsin("key", "revoke", "backend")[0] == 0
    assert "revoked" in tocsin("key", "list")[1]


def test_a_name_that_is_taken_is_refused(tocsin: Tocsin, database_url: str) -> None:
    tocsin("key", "create", "backend", database_url=database_url)
    code, _, err = tocsin("key", "create", "backend")
    assert code == 1
    assert "there is a key named backend" in err


def test_a_key_that_is_not_there_cannot_be_revoked(tocsin: Tocsin, database_url: str) -> None:
    code, _, err = tocsin("key", "revoke", "backend", database_url=database_url)
    assert code == 1
    assert "no valid key named backend" in err


def test_call_without_a_key_says_how_to_get_one(tocsin: Tocsin) -> None:
    code, _, err = tocsin("call", "info")
    assert code == 1
    assert "tocsin key create" in err


def test_call_without_a_server_says_so(tocsin: Tocsin) -> None:
    code, _, err = tocsin("call", "info", url="http://127.0.0.1:1", api_key="x" * 16)
    assert code == 1
    assert "no answer from http://127.0.0.1:1" in err
    assert "Is `tocsin serve` running?" in err


def test_call_refuses_parameters_that_are_not_json(tocsin: Tocsin) -> None:
    code, _, err = tocsin("call", "info", "{broken", api_key="x" * 16)
    assert code == 1
    assert "not JSON" in err
