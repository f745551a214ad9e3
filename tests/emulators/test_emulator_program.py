"""The emulators as programs."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulators.program import main


async def start(*arguments: str) -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "emulators",
        *arguments,
        "--port=0",
        "--control-port=0",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    return process, json.loads(await process.stdout.readline())


@pytest.mark.parametrize(("kind", "number"), [("apns", signal.SIGTERM), ("fcm", signal.SIGINT)])
async def test_a_program_says_where_it_is_and_ends_cleanly(kind: str, number: int, tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('[{"action": {"status": 503}}]')
    process, described = await start(kind, f"--data-dir={tmp_path}", f"--faults={rules}")
    async with httpx.AsyncClient(base_url=described["control_url"], trust_env=False) as control:
        faults = (await control.get("/faults")).json()
    process.send_signal(number)
    assert await process.wait() == 0
    assert described["kind"] == kind
    assert "-----BEGIN CERTIFICATE-----" in content(described["ca_path"])
    assert "PRIVATE KEY" in content(described["key_path" if kind == "apns" else "service_account_path"])
    assert [rule["action"] for rule in faults] == [{"status": 503}]


def content(path: str) -> str:
    return Path(path).read_text()


@pytest.mark.parametrize(("kind", "secret"), [("webpush", "key_path"), ("hms", "app_secret_path")])
async def test_secrets_are_in_files_where_there_is_a_folder(kind: str, secret: str, tmp_path: Path) -> None:
    process, described = await start(kind, f"--data-dir={tmp_path}")
    process.terminate()
    assert await process.wait() == 0
    assert described["kind"] == kind
    assert content(described[secret]) not in ("", str(described))
    assert not {"private_key", "app_secret", "ca_pem"}.intersection(described)


def test_help_names_all_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(kind in out for kind in ("apns", "fcm", "webpush", "hms"))


def test_a_bad_faults_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('[{"action": {"reason": "Bored"}}]')
    assert main(["apns", f"--faults={rules}"]) == 1
    assert "Bored" in capsys.readouterr().err
