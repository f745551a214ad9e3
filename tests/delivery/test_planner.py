"""Planning an audience into batches, page by page."""

import asyncio
import time

import msgspec
import pytest

from delivery.planner import Audience, Planner, PlannerOptions
from storage.database import Database
from storage.pushes import accept_planned, cancel, status
from tests.delivery.arranging import new_push


@pytest.fixture
async def credential(database: Database) -> None:
    await database.execute(
        b"insert into credentials (provider_id, provider, is_default, source, settings, secrets)"
        b" values ('apns', 'apns', true, 'api', '{}', ''), ('fcm', 'fcm', true, 'api', '{}', '')",
        {},
    )


pytestmark = pytest.mark.usefixtures("credential")


async def seed(database: Database, count: int, topics: list[str], *, provider: str = "apns") -> None:
    """Register devices that have all these topics, an hour ago."""
    await database.execute(
        b"with d as (insert into devices (id, provider, platform, token, created_at, user_id)"
        b" select gen_random_uuid(), %(provider)s, case %(provider)s when 'apns' then 'ios' else 'android' end,"
        b" md5(random()::text), now() - interval '1 hour', 'user ' || n %% 10 from generate_series(1, %(count)s) n"
        b" returning id) insert into device_topics (topic, device_id)"
        b" select t, id from d, unnest(%(topics)s::text[]) t",
        {"count": count, "topics": topics, "provider": provider},
    )


async def accept(database: Database, audience: Audience, send_at: float | None = None, **changes: object) -> str:
    push = new_push(lane=2, **changes)
    assert await accept_planned(database, push, msgspec.json.encode(audience).decode(), send_at)
    return push.uid


def planner(database: Database, **options: int) -> Planner:
    return Planner(
        database, msgspec.structs.replace(PlannerOptions(page_size=10, batch_size=4), **options), lambda: None
    )


async def plan_all(planner: Planner) -> int:
    pages = 0
    while await planner.plan_page():
        pages += 1
    return pages


async def batches(database: Database) -> list[list[str]]:
    rows = await database.values(b"select tokens from batches order by id", {})
    return [row[0].split("\n") for row in rows]


async def state(database: Database, uid: str) -> str:
    row = await status(database, uid)
    assert row is not None
    return row.state


async def test_each_device_of_a_topic_is_planned_once(database: Database) -> None:
    await seed(database, 25, ["news"])
    await seed(database, 5, ["other"])
    uid = await accept(database, Audience("topics", topics=["news"]))
    assert await plan_all(planner(database)) == 3
    planned = [token for batch in await batches(database) for token in batch]
    assert len(planned) == len(set(planned)) == 25
    assert max(map(len, await batches(database))) == 4
    assert await state(database, uid) == "sending"


async def test_a_device_in_several_of_the_topics_is_planned_once(database: Database) -> None:
    await seed(database, 12, ["news", "sport"])
    await seed(database, 12, ["sport"])
    await accept(database, Audience("topics", topics=["news", "sport"]))
    await plan_all(planner(database))
    planned = [token for batch in await batches(database) for token in batch]
    assert len(planned) == len(set(planned)) == 24


async def test_a_filter_is_planned_like_a_topic(database: Database) -> None:
    await seed(database, 40, ["news"])
    await accept(database, Audience("filter", topics=["news"], users=["user 1", "user 2"], platforms=["ios"]))
    await plan_all(planner(database, page_size=3))
    assert sum(map(len, await batches(database))) == 8


async def test_raw_tokens_that_were_scheduled_are_planned_at_once(database: Database) -> None:
    audience = Audience("raw", tokens=["aa", "bb", "cc"], provider="apns", target="token")
    uid = await accept(database, audience)
    await plan_all(planner(database))
    assert await batches(database) == [["aa", "bb", "cc"]]
    assert await state(database, uid) == "sending"


async def test_devices_registered_after_acceptance_are_not_hit(database: Database) -> None:
    await seed(database, 3, ["news"])
    await accept(database, Audience("topics", topics=["news"]))
    await database.execute(b"update devices set created_at = now() + interval '1 second' where user_id = 'user 1'", {})
    await plan_all(planner(database))
    assert sum(map(len, await batches(database))) == 2


async def test_a_page_that_fails_is_planned_again_from_where_it_was(database: Database) -> None:
    await seed(database, 25, ["news"])
    await accept(database, Audience("topics", topics=["news"]))
    worker = planner(database)
    assert await worker.plan_page()

    async def crash() -> None:
        async with database.transaction() as connection:
            await connection.execute(b"update pushes set cursor = null")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await crash()
    await plan_all(worker)
    planned = [token for batch in await batches(database) for token in batch]
    assert len(planned) == len(set(planned)) == 25


async def test_planners_share_a_push_without_planning_anyone_twice(database: Database) -> None:
    await seed(database, 200, ["news"])
    for _ in range(3):
        await accept(database, Audience("topics", topics=["news"]))
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(plan_all(planner(database)))
    await plan_all(planner(database))
    rows = await database.values(
        b"select push_id, count(*), count(distinct t) from batches, unnest(device_ids) t group by push_id", {}
    )
    assert [row[1:] for row in rows] == [(200, 200)] * 3


async def test_a_push_far_ahead_of_its_senders_waits(database: Database) -> None:
    await seed(database, 50, ["news"])
    uid = await accept(database, Audience("topics", topics=["news"]))
    await plan_all(planner(database, ahead_batches=3))
    assert len(await batches(database)) == 3
    assert await state(database, uid) == "planning"
    await database.execute(b"delete from batches where true", {})
    assert await planner(database, ahead_batches=3).plan_page()


async def test_a_scheduled_push_is_not_planned_before_its_time(database: Database) -> None:
    await seed(database, 3, ["news"])
    await accept(database, Audience("topics", topics=["news"]), send_at=time.time() + 60)
    assert not await planner(database).plan_page()


async def test_a_push_whose_time_is_over_is_planned_so_that_all_are_accounted_for(database: Database) -> None:
    await seed(database, 25, ["news"])
    expired = time.time() - 1
    await accept(database, Audience("topics", topics=["news"]), expire_at=expired)
    await plan_all(planner(database))
    rows = await database.values(
        b"select sum(recipient_count)::int, count(*) filter (where expire_at < now())::int from batches", {}
    )
    assert rows == [(25, 8)]


async def test_a_topic_without_devices_ends_the_push(database: Database) -> None:
    uid = await accept(database, Audience("topics", topics=["nobody"]))
    await plan_all(planner(database))
    assert await state(database, uid) == "done"


async def test_a_cancelled_push_is_not_planned_on(database: Database) -> None:
    await seed(database, 25, ["news"])
    uid = await accept(database, Audience("topics", topics=["news"]))
    worker = planner(database)
    await worker.plan_page()
    await cancel(database, uid)
    assert not await worker.plan_page()
    assert await batches(database) == []


async def test_devices_without_payload_or_credential_are_skipped_and_counted(database: Database) -> None:
    await seed(database, 3, ["news"])
    await seed(database, 2, ["news"], provider="fcm")
    await database.execute(b"update devices set provider_id = 'gone' where user_id = 'user 3'", {})
    await accept(database, Audience("topics", topics=["news"]))
    await plan_all(planner(database))
    rows = await database.values(b"select provider, outcome, reason, count from push_reasons order by 1", {})
    assert rows == [("apns", "skipped", "NoCredential", 1), ("fcm", "skipped", "NoPayload", 2)]


async def test_batches_are_cut_by_provider_and_platform(database: Database) -> None:
    await seed(database, 3, ["news"])
    await seed(database, 4, ["news"], provider="fcm")
    await database.execute(b"update devices set platform = 'web' where provider = 'fcm' and user_id < 'user 3'", {})
    await accept(database, Audience("topics", topics=["news"]), providers=["apns", "fcm"])
    await plan_all(planner(database))
    rows = await database.values(b"select provider, scope, recipient_count from batches order by 1, 2", {})
    assert rows == [("apns", "", 3), ("fcm", "android", 2), ("fcm", "web", 2)]


async def test_a_push_that_cannot_be_planned_does_not_stop_the_others(database: Database) -> None:
    await seed(database, 5, ["news"])
    broken = await accept(database, Audience("topics", topics=["news"]))
    await database.execute(b"update pushes set audience = '{\"kind\": 7}' where uid = %(uid)s", {"uid": broken})
    await accept(database, Audience("topics", topics=["news"]))
    engine = planner(database)
    while await engine.plan_page():
        pass
    rows = await database.values(b"select state, plan_at > now() from pushes order by id", {})
    assert rows == [("scheduled", True), ("sending", False)]
