"""The way to Redis through sentinels: which server it is, and who it is after a failover."""

import asyncio
from contextlib import suppress

import pytest

from delivery.queues.redis_link import Call, RedisLink, RedisUnavailableError, Script
from tests.delivery.queues.link_waiting import PATIENCE_SECONDS
from tests.redis_deployments import Watched, watched_redis

WRITE = Script("write", "return redis.call('SET', KEYS[1], 'x')")


async def port(link: RedisLink) -> int:
    """Write at the master, and ask who it is."""
    await link.run([Call(WRITE, ["a"], [])])
    return int((await link.command("CONFIG", "GET", "port"))[1])


async def at_master(link: RedisLink, watched: Watched) -> None:
    """Write until it is at the master that the sentinels name: the one before takes writes until it is told."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(RedisUnavailableError):
                if await port(link) == watched.master.port:
                    return


async def test_the_master_that_the_sentinels_name_is_asked(watched: Watched) -> None:
    async with RedisLink(watched.url) as link:
        assert await port(link) == watched.master.port
        assert link.generation == 0


async def test_a_failover_leads_to_the_new_master_and_raises_the_generation(watched: Watched) -> None:
    async with RedisLink(watched.url, timeout_seconds=0.4) as link:
        before = await port(link)
        watched.fail_over()
        await at_master(link, watched)
        assert watched.master.port != before
        assert link.generation >= 1


async def test_a_master_that_was_killed_is_replaced(watched: Watched) -> None:
    dead = watched.master
    async with RedisLink(watched.url, timeout_seconds=1) as link:
        await port(link)
        dead.kill()
        with pytest.raises(RedisUnavailableError):
            await port(link)
        watched.taken_over(dead)
        await at_master(link, watched)
        assert link.generation >= 1
    dead.start()


async def test_sentinels_that_stall_are_done_without(watched: Watched) -> None:
    master = watched.master
    stalled = watched.sentinels[:2]
    async with RedisLink(watched.url, timeout_seconds=1) as link:
        for each in stalled:
            each.stall()
        try:
            assert await port(link) == master.port
        finally:
            for each in stalled:
                each.resume()


async def test_a_name_that_the_sentinels_do_not_know_is_told(watched: Watched) -> None:
    async with RedisLink(watched.url.replace("/tocsin", "/other")) as link:
        with pytest.raises(RedisUnavailableError, match="know no master other"):
            await link.command("PING")


async def test_sentinels_with_a_password_get_that_of_the_url() -> None:
    with watched_redis(sentinel_count=1, replicated=False, password="x") as guarded:
        async with RedisLink(guarded.url.replace("://", "://:x@")) as link:
            assert await port(link) == guarded.servers[0].port
        async with RedisLink(guarded.url.replace("://", "://:y@")) as link:
            with pytest.raises(RedisUnavailableError, match="refuses the user name or the password"):
                await link.command("PING")
