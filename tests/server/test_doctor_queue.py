"""`tocsin doctor` on the queue: the engine, and what is wrong with its Redis."""

import pytest

from server.doctor_queue import examine
from server.findings import Finding
from server.settings import Settings
from tests.redis_deployments import Cluster, Watched
from tests.redis_server import RedisServer


async def found(url: str) -> list[Finding]:
    return [each async for each in examine(Settings(queue_url=url))]


async def test_without_redis_the_queue_is_in_postgresql() -> None:
    assert await found("") == [Finding("queue", "ok", "in PostgreSQL")]


async def test_a_redis_that_will_do_is_named_with_what_a_restart_leaves(redis: RedisServer) -> None:
    (finding,) = await found(redis.url)
    assert (finding.check, finding.verdict) == ("queue", "ok")
    assert str(redis.port) in finding.said
    assert "made anew from PostgreSQL" in finding.said


async def test_the_oldest_redis_will_do(old_redis: RedisServer) -> None:
    assert [each.verdict for each in await found(old_redis.url)] == ["ok"]


async def test_every_master_of_a_cluster_is_looked_at(cluster: Cluster) -> None:
    assert [each.verdict for each in await found(cluster.url)] == ["ok"] * 3


async def test_sentinels_lead_to_the_master(watched: Watched) -> None:
    (finding,) = await found(watched.url)
    assert finding.verdict == "ok"
    assert str(watched.master.port) in finding.said


async def test_a_node_of_a_cluster_alone_fails(cluster: Cluster) -> None:
    (finding,) = await found(cluster.nodes[0].url)
    assert finding.verdict == "fail"
    assert "redis+cluster://" in finding.said


async def test_a_redis_that_is_away_fails_without_its_password() -> None:
    (finding,) = await found("redis://user:hidden@127.0.0.1:1")
    assert finding.verdict == "fail"
    assert "127.0.0.1:1" in finding.said
    assert "hidden" not in str(finding)


@pytest.mark.parametrize(("policy", "verdict"), [("allkeys-lru", "fail"), ("volatile-lru", "ok"), ("noeviction", "ok")])
async def test_a_policy_that_removes_keys_in_use_fails(redis: RedisServer, policy: str, verdict: str) -> None:
    redis.configure(maxmemory_policy=policy, maxmemory="1gb")
    try:
        (finding,) = await found(redis.url)
    finally:
        redis.configure(maxmemory_policy="noeviction", maxmemory=0)
    assert finding.verdict == verdict
    assert ("noeviction" in finding.said) == (verdict == "fail")


async def test_a_redis_that_is_nearly_full_is_told(redis: RedisServer) -> None:
    redis.configure(maxmemory=int(redis.info()["used_memory"] * 1.15))
    try:
        fine, full = await found(redis.url)
    finally:
        redis.configure(maxmemory=0)
    assert (fine.verdict, full.verdict) == ("ok", "warn")
    assert "maxmemory" in full.said


async def test_a_user_without_scripts_is_told_what_to_allow(redis: RedisServer) -> None:
    redis.command("ACL SETUSER", "narrow", "on", ">word", "~tocsin:*", "+info", "+ping", "+client")
    try:
        (finding,) = await found(redis.url.replace("://", "://narrow:word@"))
    finally:
        redis.command("ACL DELUSER", "narrow")
    assert finding.verdict == "fail"
    assert "docs/redis.md" in finding.said
