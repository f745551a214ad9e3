"""The whole engine with its order of service in Redis, and with a Redis that is killed under it."""

from collections import Counter

import msgspec

from delivery.queues.opening import QueueOptions
from delivery.worker import WorkerOptions
from emulators.apns import ApnsEmulator
from tests.delivery.world import APNS, OPTIONS, World, ledger
from tests.redis_server import RedisServer


def on(redis: RedisServer) -> WorkerOptions:
    return msgspec.structs.replace(OPTIONS, queue=QueueOptions(redis.url))


def repeats(apns: ApnsEmulator) -> dict[str, int]:
    counted = Counter(request.token for request in apns.requests(limit=10_000) if request.accepted)
    return {token: count for token, count in counted.items() if count > 1}


def _entries_added(redis: RedisServer, key: str) -> bool:
    words = redis.command("EVAL", "return redis.call('XINFO', 'STREAM', KEYS[1])", 1, key)
    return bool(words[words.index(b"last-generated-id") + 1] != b"0-0")


async def test_a_broadcast_goes_through_redis(world: World, apns_emulator: ApnsEmulator, redis: RedisServer) -> None:
    await world.registered(300, "test")
    async with world.worker(on(redis)):
        status = await world.reached(
            await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS}), "done"
        )
    assert ledger(status) == {"planned": 300, "accepted": 300}
    assert repeats(apns_emulator) == {}
    streams = redis.command("KEYS", "tocsin:*:work")
    assert any(_entries_added(redis, key) for key in streams), "they went through"
    assert [key for key in streams if redis.command("XLEN", key)] == []


async def test_a_server_killed_under_a_broadcast_loses_and_doubles_nothing(
    world: World, apns_emulator: ApnsEmulator, redis: RedisServer
) -> None:
    await world.registered(600, "test")
    apns_emulator.set_faults([{"action": {"delay_ms": 20}}])
    async with world.worker(on(redis)):
        uid = await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS})
        for reached in (100, 250):
            while apns_emulator.counters().requests < reached:
                await world.call("push_status", uid=uid)
            redis.kill()
            redis.start()
        status = await world.reached(uid, "done")
    assert ledger(status) == {"planned": 600, "accepted": 600}
    assert repeats(apns_emulator) == {}


async def test_workers_of_both_engines_share_a_broadcast(
    world: World, apns_emulator: ApnsEmulator, redis: RedisServer
) -> None:
    await world.registered(400, "test")
    apns_emulator.set_faults([{"action": {"delay_ms": 10}}])
    async with world.worker(on(redis)), world.worker(), world.worker(on(redis)):
        uid = await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS})
        status = await world.reached(uid, "done")
    assert ledger(status) == {"planned": 400, "accepted": 400}
    assert repeats(apns_emulator) == {}


async def test_the_engine_is_changed_in_the_middle_of_a_push(
    world: World, apns_emulator: ApnsEmulator, redis: RedisServer
) -> None:
    await world.registered(400, "test")
    apns_emulator.set_faults([{"action": {"delay_ms": 20}}])
    uid = await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS})
    for options, until in ((on(redis), 100), (OPTIONS, 200), (on(redis), 300)):
        async with world.worker(options):
            while apns_emulator.counters().requests < until:
                await world.call("push_status", uid=uid)
    async with world.worker():
        status = await world.reached(uid, "done")
    assert ledger(status) == {"planned": 400, "accepted": 400}
    assert repeats(apns_emulator) == {}
