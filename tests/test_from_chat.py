"""The pages for teams that come from a chat network or a chat SDK: every call on them, and the answer it shows."""

import json
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.contract.serving import in_process, served

_DOCS = Path(__file__).parents[1] / "docs"
_PAGES = ("from-chat-network.md", "from-chat-sdk.md")


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
    """What later calls of the page put in for words in capitals: the tokens and the devices of users."""
    user = str(params.get("user", "")).upper()
    return {f"{kind}_OF_{user}": answer[name] for kind, name in (("TOKEN", "token"), ("ID", "id")) if name in answer}


@pytest.mark.parametrize("page", _PAGES)
async def test_every_call_of_the_page_is_answered_as_it_shows(
    page: str, database_url: str, files: dict[str, str]
) -> None:
    known: dict[str, str] = {}
    answered = 0
    async with served(database_url) as server, in_process(server.app) as api:
        for line, shown in calls(page):
            words = shlex.split(line)
            body = words[words.index("-d") + 1]
            for name, value in (files | known).items():
                body = body.replace(name, value)
            url = next(word for word in words if word.startswith("http"))
            got = (await api.post(urlsplit(url).path, headers={"X-API-Key": server.key}, content=body)).json()
            assert "result" in got, (line, got)
            assert shown is None or same(shown, got), (line, got)
            known |= learned(json.loads(body), got["result"])
            answered += 1
    assert answered >= 8


@pytest.mark.parametrize("page", _PAGES)
def test_the_tables_of_the_page_name_methods_and_words_that_exist(page: str) -> None:
    """A platform or provider that a table shows is one that a registration takes."""
    reference = (_DOCS / "methods.md").read_text(encoding="utf-8")
    text = (_DOCS / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:FCM|APNS)_[A-Z_]+|apns_\w+|gcm|device_\w+|provider_\w+|send_\w+)`", text))
    assert sorted(name for name in named if name not in reference) == []
