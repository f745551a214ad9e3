"""Which servers of Redis will do, and with what rights."""

from pathlib import Path

import pytest

from delivery.queues.redis_facts import facts, product, unfit
from delivery.queues.redis_link import Call, RedisLink, RedisUnavailableError, Script
from tests.redis_deployments import Cluster
from tests.redis_server import RedisServer

COUNT = Script("count", "return redis.call('INCR', KEYS[1])")
PAGE = Path(__file__).parents[3] / "docs" / "redis.md"


@pytest.mark.parametrize("version", ["6.2.0", "6.2.5", "7.0.15", "8.4.0", "10.0.0", ""])
def test_new_enough_servers_will_do(version: str) -> None:
    assert not unfit({"redis_version": version})


@pytest.mark.parametrize("version", ["6.0.16", "5.0.14", "2.8.0"])
def test_servers_without_what_we_need_will_not(version: str) -> None:
    assert "6.2" in unfit({"redis_version": version})


def test_a_policy_that_removes_keys_in_use_will_not_do_where_there_is_a_limit() -> None:
    assert "noeviction" in unfit({"maxmemory": "100", "maxmemory_policy": "allkeys-lfu"})
    assert not unfit({"maxmemory": "0", "maxmemory_policy": "allkeys-lfu"})


def test_the_answer_to_info_is_read() -> None:
    assert facts(b"# Server\r\nredis_version:7.2.4\r\nconfig_file:/a:b\r\n\r\n") == {
        "redis_version": "7.2.4",
        "config_file": "/a:b",
    }


def test_valkey_is_told_by_its_own_version() -> None:
    assert product({"redis_version": "7.2.4", "valkey_version": "9.1.2"}) == "Valkey 9.1.2"
    assert product({"redis_version": "6.2.5"}) == "Redis 6.2.5"


async def test_a_server_that_will_not_do_is_unavailable(redis: RedisServer) -> None:
    redis.configure(maxmemory_policy="allkeys-lru", maxmemory="1gb")
    try:
        async with RedisLink(redis.url) as link:
            with pytest.raises(RedisUnavailableError, match="set it to noeviction"):
                await link.run([Call(COUNT, ["tocsin:n"], [])])
    finally:
        redis.configure(maxmemory_policy="noeviction", maxmemory=0)


def rights() -> list[str]:
    """Read the rule that the documentation gives."""
    (line,) = (line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("ACL SETUSER"))
    return line.split()[2:]


async def all_of_it(link: RedisLink) -> None:
    """Do whatever a sender does with a link."""
    assert await link.run([Call(COUNT, ["tocsin:n"], [])]) == [1]
    assert await link.command("SET", "tocsin:lock", "x", "NX", "PX", 60_000) == b"OK"
    assert {key async for key in link.scan("tocsin:*")} == {"tocsin:n", "tocsin:lock"}
    assert [await link.command("DEL", f"tocsin:{{{n}}}") for n in range(9)] == [0] * 9
    assert await link.info()


async def test_the_rights_of_the_documentation_are_enough_for_one_server(
    redis: RedisServer, old_redis: RedisServer
) -> None:
    for server in (redis, old_redis):
        server.command("ACL SETUSER", *rights())
        try:
            async with RedisLink(server.url.replace("://", "://tocsin:PASSWORD@")) as link:
                await all_of_it(link)
        finally:
            server.command("ACL DELUSER", "tocsin")


async def test_the_rights_of_the_documentation_are_enough_for_a_cluster(cluster: Cluster) -> None:
    for node in cluster.nodes:
        node.command("ACL SETUSER", *rights())
    try:
        async with RedisLink(cluster.url.replace("://", "://tocsin:PASSWORD@")) as link:
            await all_of_it(link)
    finally:
        for node in cluster.nodes:
            node.command("ACL DELUSER", "tocsin")
