"""push_stats: counts by time, each outcome once."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from delivery.feed import Reader
from delivery.stats import StatsWriter
from methods import stats as methods
from methods.context import Context
from methods.errors import BadRequestError
from methods.table import table_of
from server.validation import decode
from storage import stats
from storage.database import Database
from tests.delivery.recording import OPTIONS, add_outcome, add_receipt, device, read_all
from tests.methods.device_calls import Call

NOON = 1_800_014_400  # 2027-01-15T12:00:00Z
TABLE = table_of((methods,))


@pytest.fixture
def call(context: Callable[..., Context]) -> Call:
    """What calls the method and answers the decoded result."""

    async def call(name: str, **params: Any) -> Any:
        body = json.dumps(params).encode()
        method = TABLE[name]
        return json.loads(msgspec.json.encode(await method.handler(context(body), decode(method, body))))

    return call


@pytest.fixture
def writer(database: Database) -> StatsWriter:
    return StatsWriter(database)


@pytest.fixture
async def counted(database: Database, writer: StatsWriter) -> Reader:
    """A reader that counts, and the outcomes of an hour and a half."""
    devices = [device(number) for number in range(10)]
    await add_outcome(database, 1, at=NOON + 10, devices=devices, exceptions={3: ("dead", "UNREGISTERED", 404)})
    await add_outcome(database, 2, at=NOON + 59, devices=devices[:2], exceptions={0: ("released", "Released", 0)})
    await add_outcome(
        database, 3, at=NOON + 60, provider="apns", credential="ours", platform="ios", devices=devices[:4]
    )
    await add_outcome(database, 4, at=NOON + 5400, tokens="a\nb\nc", exceptions={0: ("failed", "TooBig", 413)})
    reader = Reader(database, writer, "outcomes", OPTIONS)
    await read_all(reader)
    return reader


def asked(**params: Any) -> dict[str, Any]:
    return {"from": NOON, "to": NOON + 7200, "interval": "hour", **params}


@pytest.mark.usefixtures("counted")
async def test_outcomes_are_counted_by_hour(call: Call) -> None:
    assert (await call("push_stats", **asked()))["rows"] == [
        {"at": NOON, "count": 14, "outcome": "accepted"},
        {"at": NOON, "count": 1, "outcome": "dead"},
        {"at": NOON + 3600, "count": 2, "outcome": "accepted"},
        {"at": NOON + 3600, "count": 1, "outcome": "failed"},
    ]


@pytest.mark.usefixtures("counted")
async def test_outcomes_are_counted_by_minute_and_empty_minutes_left_out(call: Call) -> None:
    rows = (await call("push_stats", **asked(interval="minute", group_by=[])))["rows"]
    assert rows == [
        {"at": NOON, "count": 11},
        {"at": NOON + 60, "count": 4},
        {"at": NOON + 5400, "count": 3},
    ]


@pytest.mark.usefixtures("counted")
async def test_days_are_those_of_utc(call: Call) -> None:
    rows = (await call("push_stats", **asked(interval="day", group_by=[])))["rows"]
    assert rows == [{"at": NOON - 43_200, "count": 18}]


@pytest.mark.usefixtures("counted")
async def test_counts_are_told_apart_by_what_is_asked_for(call: Call) -> None:
    groups = ["provider", "provider_id", "platform", "outcome", "reason"]
    rows = (await call("push_stats", **asked(to=NOON + 1, group_by=groups)))["rows"]
    assert rows == [
        {"at": NOON, "count": 4, "provider": "apns", "provider_id": "ours", "platform": "ios", "outcome": "accepted"},
        {
            "at": NOON,
            "count": 10,
            "provider": "fcm",
            "provider_id": "fcm",
            "platform": "android",
            "outcome": "accepted",
        },
        {
            "at": NOON,
            "count": 1,
            "provider": "fcm",
            "provider_id": "fcm",
            "platform": "android",
            "outcome": "dead",
            "reason": "UNREGISTERED",
        },
    ]


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        ({"providers": ["apns"]}, 4),
        ({"provider_ids": ["ours", "fcm"]}, 18),
        ({"platforms": ["apns"]}, 4),
        ({"outcomes": ["dead", "failed"]}, 2),
        ({"reasons": ["TooBig"]}, 1),
        ({"reasons": []}, 18),
    ],
)
async def test_filters_choose_what_is_counted(call: Call, chosen: dict[str, list[str]], count: int) -> None:
    rows = (await call("push_stats", **asked(interval="day", group_by=[], filter=chosen)))["rows"]
    assert [row["count"] for row in rows] == [count]


async def test_each_outcome_is_counted_once_whoever_counts(
    database: Database, writer: StatsWriter, counted: Reader, call: Call
) -> None:
    before = await call("push_stats", **asked())
    await read_all(counted)
    await read_all(Reader(database, writer, "outcomes", OPTIONS))
    assert (await call("push_stats", **asked()))["rows"] == before["rows"]
    await add_outcome(database, 5, at=NOON + 20)
    await read_all(Reader(database, writer, "outcomes", OPTIONS))
    rows = (await call("push_stats", **asked(to=NOON + 60, interval="minute", group_by=[])))["rows"]
    assert rows == [{"at": NOON, "count": 12}]


async def test_what_devices_report_is_counted(database: Database, writer: StatsWriter, call: Call) -> None:
    for status in ("delivered", "interacted"):
        await add_receipt(database, "a1", status)
    await read_all(Reader(database, writer, "outcomes", OPTIONS))
    reader = Reader(database, writer, "receipts", OPTIONS)
    await read_all(reader)
    (now,) = (await database.values(b"select extract(epoch from now())::bigint", {}))[0]
    rows = (await call("push_stats", **{"from": now - 3600, "to": now + 60, "interval": "day"}))["rows"]
    assert [(row["outcome"], row["count"]) for row in rows] in (
        [("delivered", 1), ("interacted", 1)],
        [("delivered", 1), ("interacted", 1), ("delivered", 1), ("interacted", 1)],
    )


async def test_the_answer_says_how_far_counting_has_come(
    database: Database, writer: StatsWriter, counted: Reader, call: Call
) -> None:
    await read_all(Reader(database, writer, "receipts", OPTIONS))
    (now,) = (await database.values(b"select floor(extract(epoch from now()))::bigint", {}))[0]
    for stream in writer.streams:
        reader = Reader(database, writer, stream, OPTIONS)
        for _ in range(3):
            await reader.step()
    assert (await call("push_stats", **asked()))["up_to"] >= now


async def test_nothing_is_counted_before_somebody_counts(call: Call) -> None:
    assert await call("push_stats", **asked()) == {"rows": []}


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"to": NOON}, "to"),
        ({"interval": "minute", "to": NOON + 60 * 10_001}, "interval"),
        ({"interval": "week"}, "interval"),
        ({"group_by": ["weather"]}, "group_by[0]"),
    ],
)
async def test_a_question_that_cannot_be_answered_is_refused(call: Call, params: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        await call("push_stats", **asked(**params))
    assert refused.value.path == path


async def test_more_rows_than_can_be_answered_are_refused(database: Database, call: Call) -> None:
    await database.execute(
        b"insert into outcome_stats select 3600, to_timestamp(%(noon)s), 'fcm', 'p' || n, '', 'failed', 'r', 1"
        b" from generate_series(1, 10001) n",
        {"noon": NOON},
    )
    with pytest.raises(BadRequestError, match="more than 10000 rows") as refused:
        await call("push_stats", **asked(group_by=["provider_id"]))
    assert refused.value.path == "group_by"
    assert len((await call("push_stats", **asked(group_by=["provider"])))["rows"]) == 1


async def test_counts_leave_when_their_time_is_over(database: Database) -> None:
    await database.execute(
        b"insert into outcome_stats select w, now() - make_interval(days => d), 'fcm', '', '', 'failed', '', 1"
        b" from unnest('{60,3600}'::integer[]) w cross join unnest('{1,9,401}'::integer[]) d",
        {},
    )
    await stats.remove_old(database, minute_days=8, hour_days=400)
    left = await database.values(b"select width, count(*) from outcome_stats group by 1 order by 1", {})
    assert left == [(60, 1), (3600, 2)]
