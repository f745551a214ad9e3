"""Who a push is for: filters, exclusions and conditions, from the request down to the batches."""

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest

from delivery.conditions import parse
from delivery.planner import Audience
from methods.context import Context
from storage import pushes
from storage.database import Database
from storage.queries import load
from tests.delivery.condition_trees import And, In, Not, Or, Printer, Tree, tree_holds
from tests.methods.push_calls import Send, add_device, planned, put_credentials, refusal, sender
from tests.storage.test_devices_plans import plan, rows_read

TOPICS = ("news", "sport", "it's", 'a "b"', "back\\slash")
USERS = ("ann", "bob", "")
LOCALES = ("de", "pt-BR", "")
ALERT = {"title": "hi"}


class Person(msgspec.Struct):
    """A device as the independent evaluation knows it."""

    token: str
    topics: frozenset[str]
    provider: str
    platform: str
    user: str
    locale: str
    age: int

    def is_in(self, chosen: dict[str, Any]) -> bool:
        """Any-of inside a list, and across lists."""
        has = {
            "users": {self.user},
            "topics": self.topics,
            "providers": {self.provider},
            "platforms": {self.platform},
            "locales": {self.locale},
            "tokens": {self.token},
        }
        return all(values & set(chosen[name]) for name, values in has.items() if name in chosen)


@pytest.fixture
async def send(context: Callable[..., Context], database: Database) -> Send:
    await put_credentials(database)
    return sender(context)


def a_person(random: Random, number: int) -> Person:
    provider, platform = random.choice([("apns", "ios"), ("fcm", "ios"), ("fcm", "android")])
    return Person(
        token=f"{number:04x}",
        topics=frozenset(topic for topic in TOPICS if random.random() < 0.3),
        provider=provider,
        platform=platform,
        user=random.choice(USERS),
        locale=random.choice(LOCALES),
        age=random.choice([100, 10_000]),
    )


async def populate(database: Database, random: Random, count: int) -> list[Person]:
    people = [a_person(random, number) for number in range(count)]
    for person in people:
        more = {"user_id": person.user, "locale": person.locale, "age": person.age}
        kind = {"provider": person.provider, "platform": person.platform}
        await add_device(database, person.token, *person.topics, **kind, **more)
    return people


def a_tree(random: Random, depth: int) -> Tree:
    if not depth or random.random() < 0.2:
        return In(random.choice(TOPICS))
    if random.random() < 0.3:
        return Not(a_tree(random, depth - 1))
    sides = a_tree(random, depth - 1), a_tree(random, depth - 1)
    return And(*sides) if random.random() < 0.5 else Or(*sides)


def a_choice(random: Random, people: list[Person], likely: float) -> dict[str, Any]:
    """Lists of a filter, each with some probability."""
    fields: dict[str, tuple[str, ...]] = {
        "users": USERS,
        "topics": TOPICS,
        "providers": ("apns", "fcm"),
        "platforms": ("ios", "android"),
        "locales": LOCALES,
        "tokens": tuple(person.token for person in people),
    }
    return {
        name: random.sample(values, random.randint(1, max(1, len(values) * 3 // 5)))
        for name, values in fields.items()
        if random.random() < likely
    }


def an_audience(random: Random, people: list[Person]) -> tuple[dict[str, Any], list[str]]:
    """A recipient, and the tokens that it means by an evaluation of its own."""
    given = a_choice(random, people, 0.2)
    exclude = a_choice(random, people, 0.2) if random.random() < 0.5 else {}
    tree = a_tree(random, 3) if random.random() < 0.6 else None
    recent = 5000 if random.random() < 0.3 else None
    filter_: dict[str, Any] = dict(given) if given or tree or recent else {"all": True}
    if exclude:
        filter_["exclude"] = exclude
        if not (given or tree or recent):
            filter_["all"] = True
    if tree is not None:
        filter_["condition"] = Printer(random).write(tree)
    if recent is not None:
        filter_["last_active_within_s"] = recent
    meant = [
        person.token
        for person in people
        if person.is_in(given)
        and not (exclude and person.is_in(exclude))
        and (tree is None or tree_holds(tree, set(person.topics)))
        and (recent is None or person.age < recent)
    ]
    return {"filter": filter_}, sorted(meant)


@pytest.mark.parametrize("seed", [1, 2])
async def test_whoever_a_filter_means_is_planned_once_and_nobody_else(
    send: Send, database: Database, seed: int
) -> None:
    random = Random(seed)
    people = await populate(database, random, 150)
    reached = set()
    for _ in range(40):
        recipient, meant = an_audience(random, people)
        await send(recipient=recipient, notification=ALERT)
        assert await planned(database) == meant, recipient
        reached.add(len(meant))
        await database.execute(b"truncate batches, pushes cascade", {})
    assert len(reached) > 15, "the audiences differ"


async def test_a_condition_alone_is_planned_whether_topics_drive_it_or_not(send: Send, database: Database) -> None:
    random = Random(3)
    people = await populate(database, random, 100)
    for _ in range(30):
        tree = a_tree(random, 4)
        await send(recipient={"condition": Printer(random).write(tree)}, notification=ALERT)
        meant = sorted(person.token for person in people if tree_holds(tree, set(person.topics)))
        assert await planned(database) == meant
        await database.execute(b"truncate batches, pushes cascade", {})


async def test_the_batches_are_as_small_as_asked_and_the_push_counts_them(send: Send, database: Database) -> None:
    await populate(database, Random(4), 60)
    uid = (await send(recipient={"condition": "!('news' in topics && 'sport' in topics)"}, notification=ALERT))["uid"]
    tokens = await planned(database, batch_size=3)
    rows = await database.values(b"select max(recipient_count), sum(recipient_count)::int from batches", {})
    assert rows == [(3, len(tokens))]
    assert (await send("push_status", uid=uid))["ledger"]["planned"] == len(tokens)


async def test_a_recent_device_is_one_that_registered_within_so_many_seconds_before_the_push(
    send: Send, database: Database
) -> None:
    await add_device(database, "aa", age=50)
    await add_device(database, "bb", age=5000)
    await send(recipient={"filter": {"last_active_within_s": 100}}, notification=ALERT)
    assert await planned(database) == ["aa"]


async def test_only_active_devices_that_were_there_in_time_are_meant(send: Send, database: Database) -> None:
    await add_device(database, "aa", "news")
    await add_device(database, "bb", "news")
    await add_device(database, "cc", "news", age=-60)
    await database.execute(b"update devices set state = 'dead' where token = 'bb'", {})
    await send(recipient={"condition": "'news' in topics"}, notification=ALERT)
    assert await planned(database) == ["aa"]


@pytest.mark.parametrize(
    ("condition", "position"),
    [
        ("", 0),
        ("'news'", 6),
        ("'news' in topics &&", 19),
        ("news in topics", 0),
        ("('news' in topics", 17),
        ("'news' in topics & 'sport' in topics", 17),
        ("'' in topics", 0),
    ],
)
async def test_a_wrong_condition_is_refused_with_its_place(send: Send, condition: str, position: int) -> None:
    for recipient, path in (
        ({"condition": condition}, "recipient.condition"),
        ({"filter": {"users": ["ann"], "condition": condition}}, "recipient.filter.condition"),
    ):
        error = await refusal(send, recipient=recipient, notification=ALERT)
        assert error.path == path
        assert error.detail.endswith(f"at character {position}")


@pytest.mark.parametrize(
    ("filter_", "path"),
    [
        ({"exclude": {"users": ["ann"]}}, "recipient.filter"),
        ({"all": True, "exclude": {}}, "recipient.filter.exclude"),
        ({"all": True, "exclude": {"users": []}}, "recipient.filter.exclude"),
        ({"all": True, "exclude": {"last_active_within_s": 9}}, "recipient.filter.exclude.last_active_within_s"),
        ({"all": True, "exclude": {"condition": "'a' in topics"}}, "recipient.filter.exclude.condition"),
        ({"all": True, "topics": ["news"]}, "recipient.filter"),
        ({"all": True, "last_active_within_s": 0}, "recipient.filter.last_active_within_s"),
        ({"all": True, "last_active_within_s": 10**17}, "recipient.filter.last_active_within_s"),
        ({"condition": "'a' in topics", "users": [1]}, "recipient.filter.users[0]"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused(send: Send, filter_: object, path: str) -> None:
    assert (await refusal(send, recipient={"filter": filter_}, notification=ALERT)).path == path


async def test_a_malformed_id_excludes_nobody(send: Send, database: Database) -> None:
    await add_device(database, "aa")
    await send(recipient={"filter": {"all": True, "exclude": {"ids": ["nobody"]}}}, notification=ALERT)
    assert await planned(database) == ["aa"]


async def test_a_page_of_a_driven_condition_reads_its_topics_and_not_the_devices(database: Database) -> None:
    await put_credentials(database)
    for statement in (
        b"insert into devices (id, provider, platform, token, created_at)"
        b" select ('0197' || lpad(to_hex(n), 28, '0'))::uuid, 'apns', 'ios', 'token ' || n, now() - interval '1 hour'"
        b" from generate_series(1, 20000) n",
        b"insert into device_topics (topic, device_id)"
        b" select t.topic, d.id from (select id, row_number() over (order by id) as n from devices) d,"
        b" lateral (values ('all'), ('group ' || mod(d.n, 100)), ('rare')) t (topic)"
        b" where t.topic <> 'rare' or mod(d.n, 1000) = 0",
        b"analyze devices, device_topics",
    ):
        await database.execute(statement, {})
    for text, page, most in (
        ("'rare' in topics && 'all' in topics && !('group 0' in topics)", 100, 1500),
        ("('group 7' in topics || 'rare' in topics) && !('group 8' in topics)", 100, 3000),
        ("'all' in topics && !('rare' in topics)", 100, 3000),
    ):
        condition = parse(text)
        assert condition.drive is not None
        audience = Audience("topics", drive=condition.drive, condition=condition)
        own = {"push_id": "01970000-0000-0000-0000-000000000001", "page": page, "providers": ["apns"], "needs": []}
        own |= {"apns_topic": "", "lane": 2, "expire_at": None, "send_at": 4e9}
        params = audience.parameters(4e9) | pushes.enqueueing(None, 500) | own
        for cursor in (pushes.NO_CURSOR, "01970000-0000-0000-0000-000000003a98"):
            found = await plan(database, load("pushes").plan_topics, params | {"cursor": cursor})
            assert "Seq Scan on device" not in found, f"{text}\n{found}"
            assert "device_topics_pkey" in found or "device_topics_topic" in found, found
            assert rows_read(found) < most, f"{text}: {rows_read(found)}\n{found}"
