"""The pages for teams that come from another system (docs/from-*.md): every call on them, and the answer it shows."""

import asyncio
import json
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from delivery.outflow import OutflowOptions
from delivery.worker import Worker, WorkerOptions
from storage.vault import Vault
from tests.contract.serving import in_process, served
from tests.delivery.providers.company import LOOPBACK, SECRET, a_company

_DOCS = Path(__file__).parents[1] / "docs"
_PAGES = ("from-chat-network.md", "from-chat-sdk.md", "from-customer-service.md", "from-transit.md")
_NAMES = r"`((?:FCM|APNS)_[A-Z_]+|apns_\w+|gcm|(?:badge|device|key|outcome|provider|push|send|template|user)_\w+)`"


def calls(page: str) -> Iterator[tuple[str, Any]]:
    """Each call of a page in order, with the answer below it as JSON, None where there is none."""
    lines = (_DOCS / page).read_text(encoding="utf-8").splitlines()
    for line, below in pairwise([*lines, ""]):
        if line.startswith("    curl "):
            yield line.strip(), json.loads(below) if below.startswith("    {") else None


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """What the shell puts in: the key of the .p8 file as awk writes it, and the service account."""
    account = {"type": "service_account", "project_id": "chat", "private_key_id": "1", "client_email": "a@b.example"}
    account |= {"private_key": pem(rsa.generate_private_key(65537, 2048)), "token_uri": "https://oauth.example/token"}
    key = pem(ec.generate_private_key(ec.SECP256R1()))
    return {"$(cat service-account.json)": json.dumps(account), "$KEY": key.replace("\n", "\\n")}


def filled(text: str, known: dict[str, str]) -> str:
    """A text of the page with what the shell, or the reader, puts in."""
    for name, value in known.items():
        text = text.replace(name, value)
    return text


def same(shown: Any, got: Any) -> bool:
    """Whether an answer is what the page shows, where `…` stands for anything."""
    if shown == "…":
        return True
    if isinstance(shown, dict) and isinstance(got, dict):
        return shown.keys() == got.keys() and all(same(value, got[name]) for name, value in shown.items())
    if isinstance(shown, list) and isinstance(got, list):
        return len(shown) == len(got) and all(map(same, shown, got))
    return bool(shown == got)


def learned(params: dict[str, Any], answer: dict[str, Any]) -> dict[str, str]:
    """What later calls of the page put in for words in capitals: tokens and devices of users, and keys."""
    whose = str(params.get("user") or params.get("name") or "").upper()
    kinds = (("TOKEN", "token"), ("ID", "id"), ("KEY", "key"))
    return {f"{kind}_OF_{whose}": answer[name] for kind, name in kinds if name in answer}


async def answer_to(api: httpx.AsyncClient, words: list[str], known: dict[str, str]) -> Any:
    """Make a call as the page says it."""
    given = dict(pairwise(words))
    name, _, key = filled(given["-H"], known).partition(": ")
    url = next(word for word in words if word.startswith("http"))
    body = filled(given.get("-d", ""), known)
    return (await api.post(urlsplit(url).path, headers={name: key}, content=body)).json()


async def replay(page: str, api: httpx.AsyncClient, known: dict[str, str]) -> list[dict[str, Any]]:
    """Make the calls of a page one after the other, and compare the answers; the parameters of each."""
    made = []
    for line, shown in calls(page):
        words = shlex.split(line)
        got = await answer_to(api, words, known)
        expected = {"result": "…"} if shown is None else json.loads(filled(json.dumps(shown), known))
        assert same(expected, got), (line, got)
        params = json.loads(filled(dict(pairwise(words)).get("-d", "{}"), known))
        known |= learned(params, got.get("result", {}))
        made.append(params)
    return made


@pytest.mark.parametrize("page", _PAGES)
async def test_every_call_of_the_page_is_answered_as_it_shows(
    page: str, database_url: str, files: dict[str, str]
) -> None:
    async with served(database_url) as server, in_process(server.app) as api:
        made = await replay(page, api, files | {"$K": server.key})
    assert len(made) >= 8


async def test_the_templates_of_the_chat_sdk_say_to_both_services_what_its_payloads_say(
    database_url: str, files: dict[str, str]
) -> None:
    """Every variable that a push of the page gives arrives under its own name; calls are VoIP at APNs."""
    async with served(database_url) as server, in_process(server.app) as api:
        made = await replay("from-chat-sdk.md", api, files | {"$K": server.key})
        sent = {params["uid"]: params["notification"] for params in made if "uid" in params}
        said = {
            (uid, kind): await message_to(
                api, server.key, {f"{kind}_tokens": ["aa"], "provider_id": name}, notification
            )
            for uid, notification in sent.items()
            for kind, name in (("fcm", "chat-android"), ("apns", "chat-ios"))
        }
    given = {uid: notification["template"]["vars"] for uid, notification in sent.items()}
    alert = {name: given["message-501"][name] for name in ("title", "body")}
    for uid, kind in (("message-501", "chat"), ("call-77", "call")):
        expected = given[uid] | {"type": kind}
        assert said[uid, "fcm"]["message"]["data"].items() >= expected.items()
        beside = {name: value for name, value in expected.items() if name not in alert}
        assert said[uid, "apns"]["payload"].items() >= beside.items()
    assert "notification" not in said["message-501", "fcm"]["message"]
    aps = {"alert": alert, "sound": "default", "content-available": 1, "mutable-content": 1}
    assert said["message-501", "apns"]["payload"]["aps"] == aps
    assert said["call-77", "fcm"]["message"]["android"] == {"priority": "HIGH", "ttl": "30s"}
    assert said["call-77", "apns"]["payload"]["aps"] == {}
    headers = {"apns-push-type": "voip", "apns-priority": "10", "apns-expiration": "0"}
    assert said["call-77", "apns"]["headers"] == headers


async def message_to(api: httpx.AsyncClient, key: str, recipient: object, notification: object) -> Any:
    """What a dry run says that a recipient would be sent."""
    body = {"dry_run": True, "recipient": recipient, "notification": notification}
    got = (await api.post("/api/send_push_notification", headers={"X-API-Key": key}, json=body)).json()
    assert "problems" not in got["result"], got
    return got["result"]["messages"][0]["notification"]


async def test_the_own_api_of_the_customer_service_page_is_called_as_it_shows(database_url: str, vault: Vault) -> None:
    """Its webhook gets the reply, signed, and then what came of it."""
    page = "from-customer-service.md"
    text = (_DOCS / page).read_text(encoding="utf-8")
    (shown,) = re.findall(r'^    (\{"push": .*)$', text, re.MULTILINE)
    options = WorkerOptions(outflow=OutflowOptions(allowed=LOOPBACK))
    stop = asyncio.Event()
    async with a_company() as company, served(database_url) as server, in_process(server.app) as api:
        own = {"$K": server.key, "https://api.desk.example.com": company.url.rpartition("/")[0]}
        known = own | {"at least sixteen characters": SECRET, '"delay_ms": 20000': '"delay_ms": 0'}
        for line, _ in calls(page):
            if any(word in line for word in ('"provider": "webhook"', '"uid": "reply-31"')):
                assert "result" in await answer_to(api, shlex.split(line), known)
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(Worker(server.database, vault, options).run(stop))
            await company.got(2)
            stop.set()
    called, told = company.bodies
    assert same(json.loads(shown), called)
    assert [(event["push"], event["outcome"]) for event in told["events"]] == [("reply-31", "accepted")]


@pytest.mark.parametrize("page", _PAGES)
def test_the_tables_of_the_page_name_methods_and_words_that_exist(page: str) -> None:
    """A platform or provider that a table shows is one that a registration takes."""
    reference = (_DOCS / "methods.md").read_text(encoding="utf-8")
    text = (_DOCS / page).read_text(encoding="utf-8")
    named = set(re.findall(_NAMES, text))
    assert sorted(name for name in named if name not in reference) == []
