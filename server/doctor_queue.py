"""The checks of `tocsin doctor` on the queue: which engine keeps it, and whether its Redis will do."""

from collections.abc import AsyncIterator, Iterator, Mapping

from delivery.queues.redis_facts import product, unfit
from delivery.queues.redis_link import Call, RedisLink, RedisScriptError, RedisUnavailableError, Script
from server.findings import Finding, fail, ok, warn
from server.settings import Settings

_PROBE = Script("probe", "return redis.call('EXISTS', KEYS[1])")
_PROBED = "tocsin:doctor"
_AWAY = "see that it runs and that TOCSIN_QUEUE_URL is right; until then the queue goes through PostgreSQL alone"
_REFUSED = "allow its user scripts and the keys `tocsin:*`; docs/redis.md has the rule"
_ADVICE = "docs/redis.md says how; until then the queue goes through PostgreSQL alone"
_NAMED_ALONE = "it is a node of a cluster: begin TOCSIN_QUEUE_URL with redis+cluster://"
_FULL = 0.8
_REPLICA = "it is a replica: give the address of its master, or of the sentinels"


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Tell of the engine, then of each server of Redis."""
    if not settings.queue_url:
        yield ok("queue", "in PostgreSQL")
        return
    async with RedisLink(settings.queue_url, tls_ca=settings.queue_tls_ca, name="tocsin-doctor") as link:
        try:
            servers = await link.info()
            await link.run([Call(_PROBE, [_PROBED], [])])
        except RedisUnavailableError as error:
            yield fail("queue", f"Redis at {link.address} cannot be used: {error}", _AWAY)
        except RedisScriptError as error:
            yield fail("queue", f"Redis at {link.address} refuses a script: {error}", _REFUSED)
        else:
            for address, info in servers:
                for finding in _judge(address, info, alone=link.address.kind == "server"):
                    yield finding


def _judge(address: str, info: Mapping[str, str], *, alone: bool) -> Iterator[Finding]:
    what = f"{product(info)} at {address}"
    trouble = unfit(info)
    if alone and info.get("cluster_enabled") == "1":
        trouble = _NAMED_ALONE
    elif info.get("role") == "slave":
        trouble = _REPLICA
    if trouble:
        yield fail("queue", f"{what}: {trouble}", _ADVICE)
        return
    yield ok("queue", f"{what}, {_kept(info)}")
    if info.get("maxmemory", "0") == "0":
        return
    used = int(info.get("used_memory", "0")) / int(info["maxmemory"])
    if used > _FULL:
        yield warn("queue", f"{what} uses {used:.0%} of its maxmemory", "raise it: what is full takes nothing more")


def _kept(info: Mapping[str, str]) -> str:
    """Say what is left of it after a restart; nothing is lost either way."""
    if info.get("aof_enabled") == "1":
        return "which keeps the order of the queue on disk"
    return "whose order is made anew from PostgreSQL when it restarts"
