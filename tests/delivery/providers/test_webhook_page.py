"""docs/webhook-provider.md says what the code does."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from delivery.providers.credential_fields import CredentialFields
from delivery.providers.credentials import parse_credential
from delivery.providers.webhook import CONNECTIONS
from delivery.providers.webhook_credential import BATCH_RECIPIENTS, TIMEOUT_SECONDS
from delivery.providers.webhook_reactions import TABLE, refused_of
from tests.delivery.http_peer import Request
from tests.delivery.providers.company import PAYLOAD, SECRET, a_company, provider_of
from tests.delivery.providers.sending import batch_of, send

PAGE = (Path(__file__).parents[3] / "docs" / "webhook-provider.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def rows(title: str) -> list[list[str]]:
    """The rows of the table whose first heading this is."""
    lines = PAGE.partition(f"\n| {title} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture
def code() -> dict[str, Callable[..., Any]]:
    """The functions of the page."""
    names: dict[str, Any] = {}
    (text,) = blocks("python")
    exec(text, names)  # noqa: S102 - the page's own
    return names


async def requests(**changes: Any) -> list[Request]:
    """What comes for two recipients, and for one of them again."""
    async with a_company() as company, provider_of(company, **changes) as provider:
        await send(provider, batch_of(2, uid="u"), PAYLOAD)
        await send(provider, batch_of(1, uid="u", attempt=2), PAYLOAD)
    return company.requests


def given(request: Request) -> dict[str, Any]:
    headers = request.headers
    return {
        "timestamp": headers["x-tocsin-timestamp"],
        "signature": headers["x-tocsin-signature"],
        "body": request.body,
    }


async def test_the_check_of_the_page_takes_a_request_and_nothing_else(
    code: dict[str, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, check = given((await requests())[0]), code["is_from_tocsin"]
    assert check(SECRET, **real)
    assert not check("another secret of it", **real)
    assert not check(SECRET, **real | {"body": real["body"] + b" "})
    assert not check(SECRET, **real | {"timestamp": str(int(real["timestamp"]) + 1)})
    assert not check(SECRET, **real | {"signature": ""})
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert not check(SECRET, **real)


@pytest.mark.parametrize("batched", [False, True])
async def test_the_code_of_the_page_finds_each_message_once(code: dict[str, Callable[..., Any]], batched: bool) -> None:
    seen: set[str] = set()
    found = [code["new_recipients"](request.body, seen) for request in await requests(batched=batched)]
    assert len({each["token"] for part in found for each in part}) == len(seen) == 2
    assert found[-1] == []
    assert code["new_recipients"](b'{"check":true}', seen) == []


@pytest.mark.parametrize("batched", [False, True])
async def test_the_examples_of_the_page_have_the_form_of_requests(batched: bool) -> None:
    example = json.loads(blocks("json")[batched])
    body = json.loads((await requests(batched=batched))[0].body)
    assert list(example) == list(body)
    one, other = (each["recipients"][0] if batched else each["recipient"] for each in (example, body))
    assert list(one) == list(other)
    assert len(one["id"]) == len(other["id"])


def test_the_credential_of_the_page_is_taken_and_its_fields_exist() -> None:
    text = re.search(r'"params": (\{.*?\})\}', PAGE, re.DOTALL)
    assert text is not None
    parse_credential(json.loads(text[1]))
    assert {name.strip("`") for name, _ in rows("field")} < set(CredentialFields.__struct_fields__)
    said = dict(rows("field"))
    for name, default in (
        ("batch_recipients", BATCH_RECIPIENTS),
        ("timeout_seconds", TIMEOUT_SECONDS),
        ("max_connections", CONNECTIONS),
    ):
        assert said[f"`{name}`"].endswith(f"{default} unless told")


def test_the_page_names_every_status_of_the_reaction_table() -> None:
    named = {int(word) for row in rows("status") for word in re.findall(r"\b\d{3}\b", row[0])}
    assert {status for status in TABLE if status < 500} == named


def test_the_answer_of_the_page_names_a_dead_recipient() -> None:
    text = re.search(r"^ {6}(\{.failed.*)$", PAGE, re.MULTILINE)
    assert text is not None
    (refused,) = refused_of(text[1].encode()) or []
    assert (refused.reason, refused.dead) == ("NoSuchCustomer", True)
    assert refused.id in PAGE.partition(text[1])[0]
