"""The way to one server of Redis: scripts, messages, outages."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from delivery.queues.redis_link import Call, RedisLink, RedisScriptError, RedisUnavailableError, Script
from tests.delivery.queues.link_waiting import PATIENCE_SECONDS, answers_again
from tests.redis_server import RedisServer, redis_server

SET = Script("set", "redis.call('SET', KEYS[1], ARGV[1]) return {KEYS[1], redis.call('GET', KEYS[1]), 7}")
COUNT = Script("count", "return redis.call('INCR', KEYS[1])")
FILL = Script("fill", "return redis.call('LPUSH', KEYS[1], string.rep('x', 1000000))")


@pytest.fixture
async def link(redis: RedisServer) -> AsyncIterator[RedisLink]:
    async with RedisLink(redis.url, timeout_seconds=5) as opened:
        yield opened


def pings(server: RedisServer) -> int:
    """Count the PINGs that the server has answered."""
    calls: int = server.command("INFO", "commandstats").get("cmdstat_ping", {"calls": 0})["calls"]
    return calls


async def test_scripts_are_carried_out_and_answered_in_order(link: RedisLink) -> None:
    answers = await link.run([Call(SET, ["a"], [1]), Call(COUNT, ["n"], []), Call(SET, ["b"], [b"\xff\r\n"])])
    assert answers == [[b"a", b"1", 7], 1, [b"b", b"\xff\r\n", 7]]


async def test_no_calls_need_no_server() -> None:
    async with RedisLink("redis://127.0.0.1:1") as link:
        assert await link.run([]) == []


async def test_the_oldest_server_carries_out_scripts(old_redis: RedisServer) -> None:
    async with RedisLink(old_redis.url) as link:
        assert await link.run([Call(SET, ["a"], ["b"])]) == [[b"a", b"b", 7]]


async def test_many_calls_at_once_share_few_connections(redis: RedisServer) -> None:
    async with RedisLink(redis.url, max_connections=2, name="tocsin-few") as link:
        await asyncio.gather(*(link.run([Call(COUNT, ["n"], [])]) for _ in range(200)))
        assert await link.command("GET", "n") == b"200"
        clients = (await link.command("CLIENT", "LIST")).decode()
    assert clients.count("name=tocsin-few") == 2


async def test_a_script_that_the_server_forgot_is_loaded_again_and_carried_out_once(
    redis: RedisServer, link: RedisLink
) -> None:
    await link.run([Call(COUNT, ["n"], [])])
    redis.command("SCRIPT FLUSH")
    assert await link.run([Call(COUNT, ["n"], []), Call(COUNT, ["n"], []), Call(SET, ["a"], [1])]) == [
        2,
        3,
        [b"a", b"1", 7],
    ]


async def test_a_wrong_script_is_no_outage(link: RedisLink) -> None:
    broken = Script("broken", "return redis.call('NOSUCHCOMMAND')")
    with pytest.raises(RedisScriptError, match="broken"):
        await link.run([Call(broken, ["a"], [])])
    assert await link.run([Call(COUNT, ["n"], [])]) == [1]
    assert link.generation == 0


async def test_a_server_that_was_never_there_is_unavailable_and_then_found(redis: RedisServer) -> None:
    redis.kill()
    async with RedisLink(redis.url, timeout_seconds=1) as link:
        with pytest.raises(RedisUnavailableError, match=str(redis.port)):
            await link.run([Call(COUNT, ["n"], [])])
        redis.start()
        assert await link.run([Call(COUNT, ["n"], [])]) == [1]


async def test_the_generation_rises_once_when_the_server_was_restarted_unnoticed(
    redis: RedisServer, link: RedisLink
) -> None:
    await asyncio.gather(*(link.run([Call(COUNT, ["n"], [])]) for _ in range(8)))
    assert link.generation == 0
    redis.kill()
    redis.start()
    await answers_again(link)
    assert await link.run([Call(COUNT, ["n"], [])]) == [1]  # the scripts are gone, too
    assert link.generation == 1


async def test_the_generation_rises_when_a_connection_was_lost(redis: RedisServer, link: RedisLink) -> None:
    await link.command("PING")
    redis.stall()
    waiting = asyncio.create_task(link.command("PING"))
    try:
        async with asyncio.timeout(0.5):
            await asyncio.shield(waiting)
    except TimeoutError:
        redis.kill()
    with pytest.raises(RedisUnavailableError):
        await waiting
    redis.start()
    await answers_again(link)
    assert link.generation == 1


async def test_a_server_that_stalls_is_given_up_in_time_and_is_good_again_afterwards(redis: RedisServer) -> None:
    async with RedisLink(redis.url, timeout_seconds=0.2) as link:
        await link.command("PING")
        redis.stall()
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(RedisUnavailableError, match="no answer in time"):
                await link.run([Call(COUNT, ["n"], [])])
        redis.resume()
        await answers_again(link)
        assert await link.command("ECHO", "mine") == b"mine"  # not the answer to the call that was given up
        assert link.generation >= 1


async def test_a_call_that_is_cancelled_leaves_no_answer_to_the_next(redis: RedisServer) -> None:
    async with RedisLink(redis.url, max_connections=1) as link:
        await link.command("PING")
        redis.stall()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await link.command("ECHO", "old")
        redis.resume()
        assert await link.command("ECHO", "new") == b"new"


async def test_a_wrong_password_is_told_without_the_password() -> None:
    with redis_server("--requirepass", "the right one") as server:
        url = f"redis://:not-the-right-one@127.0.0.1:{server.port}"
        async with RedisLink(url) as link:
            with pytest.raises(RedisUnavailableError, match="refuses the user name or the password") as caught:
                await link.command("PING")
            assert "not-the-right-one" not in f"{caught.value}{caught.value.__cause__}{link!r}"
        async with RedisLink(f"redis://:the%20right%20one@127.0.0.1:{server.port}/3") as link:
            await link.command("SET", "a", 1)
            assert await link.run([Call(SET, ["a"], ["b"])]) == [[b"a", b"b", 7]]


async def test_a_password_that_is_missing_is_told() -> None:
    with redis_server("--requirepass", "x") as server:
        async with RedisLink(server.url) as link:
            with pytest.raises(RedisUnavailableError, match="refuses the user name or the password"):
                await link.command("PING")


async def test_a_database_that_the_server_has_not_is_told(redis: RedisServer) -> None:
    async with RedisLink(f"{redis.url}/99") as link:
        with pytest.raises(RedisUnavailableError, match="DB index is out of range"):
            await link.run([Call(COUNT, ["n"], [])])


@pytest.mark.parametrize("old", [False, True])
async def test_a_server_without_memory_is_unavailable(redis: RedisServer, old_redis: RedisServer, old: bool) -> None:
    server = old_redis if old else redis
    server.configure(maxmemory=3_000_000)
    try:
        async with RedisLink(server.url) as link:
            with pytest.raises(RedisUnavailableError, match="out of memory"):
                await link.run([Call(FILL, ["big"], [])] * 5)
    finally:
        server.configure(maxmemory=0)


@pytest.mark.parametrize("old", [False, True])
async def test_a_replica_is_unavailable(redis: RedisServer, old_redis: RedisServer, old: bool) -> None:
    server = old_redis if old else redis
    server.command("REPLICAOF", "127.0.0.1", 1)
    try:
        async with RedisLink(server.url) as link:
            with pytest.raises(RedisUnavailableError, match=r"replica|its master is down"):
                await link.run([Call(COUNT, ["n"], [])])
    finally:
        server.command("REPLICAOF", "NO", "ONE")


async def test_keys_are_found_by_pattern(link: RedisLink) -> None:
    await link.run([Call(SET, [f"t:{number}"], [1]) for number in range(1200)])
    await link.command("SET", "other", 1)
    assert {key async for key in link.scan("t:*")} == {f"t:{number}" for number in range(1200)}


async def test_tls_to_a_server_without_it_is_unavailable(redis: RedisServer) -> None:
    async with RedisLink(f"rediss://localhost:{redis.port}", timeout_seconds=1) as link:
        with pytest.raises(RedisUnavailableError):
            await link.command("PING")
