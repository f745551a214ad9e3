"""docs/outcomes.md says what the code does."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from delivery.events import Event
from delivery.webhooks.hooks import DEFAULT_KINDS, KINDS
from storage.database import Database
from tests.delivery.recording import add_outcome, add_push
from tests.delivery.webhooks.receiver import Received, receiving
from tests.delivery.webhooks.telling import SECRET, Teller

PAGE = (Path(__file__).parents[3] / "docs" / "outcomes.md").read_text(encoding="utf-8")
FIELDS = {field.name: field.type for field in msgspec.structs.fields(Event)}

Check = Callable[..., bool]


def block(language: str) -> str:
    """The only block of code in this language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def table(title: str) -> list[list[str]]:
    """The rows of the table whose first heading this is."""
    rows = PAGE.partition(f"\n| {title} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.fixture
def check() -> Check:
    """The function of the page."""
    names: dict[str, Any] = {}
    exec(block("python"), names)  # noqa: S102 - the page's own
    found: Check = names["is_from_tocsin"]
    return found


@pytest.fixture
async def delivery(database: Database, teller: Teller) -> Received:
    """A delivery as it came."""
    async with receiving() as app, teller.delivering():
        await add_outcome(database, 1, push_id=await add_push(database, "p", webhook=teller.hook(app.url)))
        await teller.write()
        (request,) = await app.got(1)
    return request


def given(delivery: Received) -> dict[str, Any]:
    headers = delivery.headers
    return {
        "timestamp": headers["x-tocsin-timestamp"],
        "signature": headers["x-tocsin-signature"],
        "body": delivery.body,
    }


async def test_the_check_of_the_page_takes_a_delivery_and_nothing_else(check: Check, delivery: Received) -> None:
    real = given(delivery)
    assert check(SECRET, **real)
    assert not check("another secret of it", **real)
    assert not check(SECRET, **real | {"body": real["body"] + b" "})
    assert not check(SECRET, **real | {"timestamp": str(int(real["timestamp"]) + 1)})
    assert not check(SECRET, **real | {"signature": ""})


async def test_the_check_of_the_page_refuses_an_old_delivery(
    check: Check, delivery: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert not check(SECRET, **given(delivery))


def test_the_page_names_every_member_of_an_event_with_its_type() -> None:
    words = {str: "string", int: "integer", str | None: "string or null"}
    assert [(name, kind) for name, kind, *_ in table("member")] == [
        (f"`{name}`", words[kind]) for name, kind in FIELDS.items()
    ]


def test_the_page_names_every_outcome() -> None:
    named = re.findall(r"`(\w+)`", " ".join(row[0] for row in table("outcome")))
    assert named == list(KINDS)
    assert set(KINDS) - DEFAULT_KINDS == {"retry"}


def test_the_table_for_clickhouse_has_a_column_for_every_member() -> None:
    columns = re.findall(r"^    (\w+) +(\S+?),?$", block("sql"), re.MULTILINE)
    assert [name for name, _ in columns] == list(FIELDS)
    assert [name for name, kind in columns if kind.startswith("Nullable")] == [
        name for name, kind in FIELDS.items() if kind == str | None
    ]
