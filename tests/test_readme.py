"""README's first push, typed off the page: its calls run against the application, a worker and the emulated FCM."""

import asyncio
import re
import shlex
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

from delivery.providers.credentials import parse_credential
from delivery.worker import Worker, WorkerOptions
from emulators.fcm import FcmEmulator
from storage import credentials
from storage.vault import Vault
from tests.contract.serving import Served, in_process, served

README = Path(__file__).parents[1] / "README.md"
THE_CALL = (
    """curl -X POST http://localhost:8000/api -H "X-API-Key: $K" -d '{"method": "send_push_notification", "params": """
    """{"recipient": {"channels": ["test"]}, "notification": {"fcm": {"notification": {"title": "Hello", "body": """
    """"How are you?"}}}}}'"""
)


def first_push() -> list[str]:
    """The curl calls of the section, in order."""
    section = README.read_text(encoding="utf-8").partition("\n## The first push\n")[2].partition("\n## ")[0]
    return re.findall(r"^ {4}(curl .*)$", section, re.MULTILINE)


class Newcomer:
    """Types what README says: the key and the uid where it says so, and calls in process instead of on a port."""

    def __init__(self, server: Served, api: httpx.AsyncClient, fcm: FcmEmulator) -> None:
        self._server = server
        self._api = api
        self._fcm = fcm
        self.uid = ""

    async def type(self, line: str) -> Any:
        """Run one call; its answer as JSON. AssertionError when it is refused."""
        command, *words = shlex.split(line.replace("$K", self._server.key))
        assert command == "curl"
        given = dict(pairwise(words))
        url = next(word for word in words if word.startswith("http"))
        if "-d" not in words:
            return await self._read(url)
        name, _, value = given["-H"].partition(": ")
        body = given["-d"].replace("UID", self.uid)
        answer = await self._api.request(given["-X"], urlsplit(url).path, headers={name: value}, content=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def _read(self, url: str) -> Any:
        """Read the control port of FCM's emulator, which is at 8004 with the default port of the server."""
        assert urlsplit(url).port == 8004
        async with httpx.AsyncClient() as client:
            return (await client.get(url.replace("http://localhost:8004", self._fcm.control_url))).json()

    async def done(self, line: str) -> dict[str, Any]:
        """Ask for the status of the push, as README says, until it is done."""
        async with asyncio.timeout(15):
            while True:
                status: dict[str, Any] = (await self.type(line))["result"]
                if status["state"] == "done":
                    return status


@pytest.fixture
async def fcm() -> AsyncIterator[FcmEmulator]:
    async with FcmEmulator() as emulator:
        yield emulator


@pytest.fixture
async def newcomer(database_url: str, vault: Vault, fcm: FcmEmulator) -> AsyncIterator[Newcomer]:
    """Someone in front of a whole server: the application, a worker, and FCM emulated as `tocsin serve` does it."""
    params = {"provider_id": "emulator-fcm", "provider": "fcm", "service_account": fcm.service_account()}
    params |= {"endpoint": fcm.url, "tls_ca": fcm.authority.ca_pem}
    async with served(database_url) as server, in_process(server.app) as api:
        assert await credentials.put_emulator(server.database, vault, parse_credential(params))
        stop = asyncio.Event()
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(Worker(server.database, vault, WorkerOptions()).run(stop))
            try:
                yield Newcomer(server, api, fcm)
            finally:
                stop.set()


def test_the_first_push_is_five_calls_and_one_of_them_is_the_documents_own() -> None:
    calls = first_push()
    assert len(calls) == 5
    assert calls[2] == THE_CALL


async def test_the_first_push_comes_out_as_readme_says(newcomer: Newcomer) -> None:
    register, subscribe, send, status, look = first_push()
    assert (await newcomer.type(register))["result"]["id"]
    assert await newcomer.type(subscribe) == {"result": {}}
    newcomer.uid = (await newcomer.type(send))["result"]["uid"]
    ledger = (await newcomer.done(status))["ledger"]
    assert {name: count for name, count in ledger.items() if count} == {"planned": 1, "accepted": 1}
    (arrived,) = await newcomer.type(look)
    assert arrived["accepted"]
    assert arrived["payload"]["message"] == {
        "token": "a-token-of-ann",
        "notification": {"title": "Hello", "body": "How are you?"},
    }


def test_every_call_of_the_documents_that_holds_json_holds_well_formed_json() -> None:
    """A quote that a shell would eat is found here, not by the reader."""
    for path in (README, *README.parent.glob("docs/*.md")):
        for words in _curls(path.read_text(encoding="utf-8")):
            for option, value in pairwise(words):
                if option == "-d":
                    msgspec.json.decode(value)


def _curls(document: str) -> Iterator[list[str]]:
    """The words of each curl in a document's code, over as many lines as its quotes and backslashes take."""
    for block in re.findall(r"(?:^ {4}.*\n)+", document, re.MULTILINE):
        lines = [line[4:].replace("$(cat service-account.json)", "{}") for line in block.splitlines()]
        while lines:
            command = lines.pop(0)
            while lines and (command.endswith("\\") or command.count("'") % 2):
                command = command.removesuffix("\\") + "\n" + lines.pop(0)
            if command.startswith("curl "):
                yield shlex.split(command, comments=True)


def test_every_link_of_the_documents_leads_to_a_file() -> None:
    for path in (README, *README.parent.glob("docs/*.md")):
        for target in re.findall(r"\]\(([\w./-]+)(?:#[\w.-]+)?\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
