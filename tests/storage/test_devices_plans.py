"""How PostgreSQL runs the hot queries on a table of some size: by index, whatever the filter."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from storage.database import Database
from storage.queries import load

_DEVICES = load("devices")
_TOPICS = load("topics")

_SEED = (
    b"""
    insert into devices (id, provider, token, platform, user_id, locale)
    select ('0197' || lpad(to_hex(n), 28, '0'))::uuid, case mod(n, 3) when 0 then 'apns' else 'fcm' end, 'token ' || n,
           case mod(n, 3) when 0 then 'ios' else 'android' end,
           case mod(n, 4) when 0 then '' else 'user ' || n / 2 end, 'en'
    from generate_series(1, 20000) n
    """,
    b"""
    insert into device_topics (topic, device_id)
    select t.topic, d.id
    from (select id, row_number() over (order by id) as n from devices) d,
         lateral (values ('all'), ('group ' || mod(d.n, 100)), ('late')) t(topic)
    where t.topic <> 'late' or d.n > 19000
    """,
    b"""
    insert into user_topics (user_id, topic)
    select 'user ' || n, 'topic ' || mod(n, 50) from generate_series(1, 20000) n
    """,
    b"""
    update devices set voip_token = 'voip ' || token, accounts = array['guest ' || token, 'guest of all']
    where provider = 'apns' and id < '01970000-0000-0000-0000-000000000800'
    """,
    b"analyze devices, device_topics, user_topics, device_accounts",
)
_ALL: dict[str, Any] = dict.fromkeys(
    (
        "ids",
        "users",
        "topics",
        "providers",
        "platforms",
        "tokens",
        "provider_ids",
        "locales",
        "c_topics",
        "c_program",
        "after",
    )
)
_ALL |= {"with_accounts": False}
_FEW = 7500  # of 20,000 and more
_LATER = "01970000-0000-0000-0000-000000003a98"  # the 15,000th


@pytest.fixture(scope="module")
def seeded_url(postgres: Any, template: str) -> Iterator[str]:
    """A database with 20,000 devices, 41,000 topics of theirs, 20,000 topics of users; `plan` leaves it so."""
    with postgres.new_database(template) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in _SEED:
                connection.execute(statement)
        yield url


@pytest.fixture
async def seeded(seeded_url: str) -> AsyncIterator[Database]:
    """A pool on that database."""
    async with Database(seeded_url) as opened:
        yield opened


async def plan(database: Database, query: bytes, params: dict[str, Any]) -> str:
    """The plan with the values at hand, as the storage room runs it."""
    async with database.connection() as connection, connection.transaction(force_rollback=True):
        cursor = await connection.execute(b"explain (analyze, timing off, costs off) " + query, params, prepare=False)
        return "\n".join(line for (line,) in await cursor.fetchall())


def rows_read(text: str) -> int:
    """The rows that the plan's nodes gave or threw away, roughly the work it was."""
    found = 0
    for line in text.splitlines():
        if "actual rows=" in line:
            rows, _, loops = line.partition("actual rows=")[2].partition(" loops=")
            found += int(float(rows) * int(loops.rstrip(")")))
        if "Rows Removed by" in line:
            found += int(line.rpartition(" ")[2])
    return found


_PAGES: list[tuple[str, dict[str, Any]]] = [
    ("page", {}),
    ("page", {"after": _LATER}),
    ("page", {"ids": ["01970000-0000-0000-0000-000000000007"]}),
    ("page", {"users": ["user 7"]}),
    ("page", {"users": ["user 7", "user 8", "nobody"]}),
    ("page", {"users": [""], "after": _LATER}),
    ("page", {"users": ["guest token 9"], "with_accounts": True}),
    ("page", {"users": ["user 7", "user 8", "guest of all"], "with_accounts": True}),
    ("page", {"tokens": ["token 7", "token 8"]}),
    ("page", {"tokens": ["voip token 9"]}),
    ("page", {"tokens": ["voip token 9"], "providers": ["apns_voip", "fcm"]}),
    ("page", {"providers": ["apns"], "after": _LATER}),
    ("page_in_topics", {"topics": ["all"]}),
    ("page_in_topics", {"topics": ["all"], "after": _LATER}),
    ("page_in_topics", {"topics": ["late"]}),
    ("page_in_topics", {"topics": ["group 7"]}),
    ("page_in_topics", {"topics": ["group 7", "group 8"], "after": _LATER}),
    ("page_in_topics", {"topics": ["all"], "users": ["user 7"]}),
    ("page_in_topics", {"topics": ["none"]}),
]


async def test_pages_of_devices_are_read_by_index(seeded: Database) -> None:
    for name, given in _PAGES:
        params = {**_ALL, **given, "limit": 101, "include_topics": False}
        text = await plan(seeded, getattr(_DEVICES, name), params)
        assert "Seq Scan" not in text, f"{given}\n{text}"
        assert rows_read(text) < _FEW, f"{given}\n{text}"


async def test_topics_of_devices_are_read_by_index(seeded: Database) -> None:
    nothing: dict[str, Any] = dict.fromkeys(
        ("after_device", "after_topic", "device_ids", "topics", "topic_prefix", "providers", "platforms", "users")
    )
    cases: list[dict[str, Any]] = [
        {},
        {"after_device": _LATER, "after_topic": "all"},
        {"topics": ["all"], "after_device": _LATER, "after_topic": "all"},
        {"topics": ["late"]},
        {"topics": ["group 7"]},
        {"topics": ["group 7", "group 8"]},
        {"topic_prefix": "group 77"},
        {"device_ids": ["01970000-0000-0000-0000-000000000007"]},
        {"users": ["user 7"]},
        {"tokens": ["token 7"]},
    ]
    for given in cases:
        text = await plan(seeded, _TOPICS.page_of_devices, {**nothing, "tokens": None, **given, "limit": 101})
        assert "Seq Scan" not in text, f"{given}\n{text}"
        assert rows_read(text) < _FEW, f"{given}\n{text}"


async def test_topics_of_users_are_read_by_index(seeded: Database) -> None:
    nothing = dict.fromkeys(("after", "users", "topics", "topic_prefix"))
    for given in ({}, {"after": 15000}, {"users": ["user 7"]}, {"topics": ["topic 7"]}, {"topic_prefix": "topic 49"}):
        text = await plan(seeded, _TOPICS.page_of_users, {**nothing, **given, "limit": 101})
        assert "Seq Scan" not in text, f"{given}\n{text}"
        assert rows_read(text) < _FEW, f"{given}\n{text}"


async def test_changes_find_their_devices_by_index(seeded: Database) -> None:
    chosen: dict[str, Any]
    for chosen in ({"ids": ["01970000-0000-0000-0000-000000000007"]}, {"users": ["user 7"]}, {"tokens": ["token 9"]}):
        params = {"ids": None, "users": None, "tokens": None, "providers": None, **chosen}
        for name in ("remove", *(() if "tokens" in chosen else ("lock_chosen", "update"))):
            change = {"op": "set", "topics": ["x"], "user_id": "v", "meta": None, "timezone": None, "locale": None}
            text = await plan(seeded, getattr(_DEVICES, name), {**change, **params})
            assert "Seq Scan" not in text, f"{name} {chosen}\n{text}"
            assert rows_read(text) < 100, f"{name} {chosen}\n{text}"


async def test_tokens_of_a_provider_find_their_device_by_index(seeded: Database) -> None:
    given = {"tokens": ["token 9", "voip token 9"], "providers": ["apns_voip"], "provider_id": ""}
    for name in ("remove", "by_token"):
        text = await plan(seeded, getattr(_DEVICES, name), {"ids": None, "users": None, **given})
        assert "Seq Scan" not in text, f"{name}\n{text}"
        assert rows_read(text) < 100, f"{name}\n{text}"


_REGISTERING = (
    "take_token",
    "take_voip_token",
    "register_by_token",
    "register_by_id",
    "sync_topics",
    "sync_by_token",
    "add_users_topics",
)


@pytest.mark.parametrize("name", _REGISTERING)
async def test_a_registration_finds_its_device_by_index(seeded: Database, name: str) -> None:
    texts = ("token_kind", "environment", "timezone", "locale", "app_version", "voip_token", "provider_id")
    params: dict[str, Any] = dict.fromkeys(texts, "") | {
        "id": "01970000-0000-0000-0000-000000000007",
        "provider": "fcm",
        "platform": "android",
        "token": "token 7",
        "user_id": "user 7",
        "meta": "{}",
        "webpush_keys": None,
        "topics": ["x"],
        "accounts": ["guest"],
        "by_id": True,
        "most": 101,
    }
    text = await plan(seeded, getattr(_DEVICES, name), params)
    assert "Seq Scan on devices" not in text
    assert "Seq Scan on device_topics" not in text
    assert "Seq Scan on user_topics" not in text
