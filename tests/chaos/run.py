"""One run from its seed to its verdict."""

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import msgspec
import psycopg

from tests.chaos.acting import Actor
from tests.chaos.history import History
from tests.chaos.judgement import Verdict, judge_run
from tests.chaos.record import Record, hurry_probes, read_record, unfinished
from tests.chaos.script import QUEUES, Size, write_script
from tests.chaos.services import check_services
from tests.chaos.world import World, new_world

_PROBE_SECONDS = 2.0


class Order(msgspec.Struct, frozen=True):
    """What to run; times in seconds. `keep`: leave the run's directory for a look, should it find anything."""

    seed: int
    kills: int
    seconds: float
    drain_seconds: float = 300.0
    size: Size = Size()
    keep: bool = True
    queue: str = QUEUES[0]
    lease_seconds: float = 5.0


class Outcome(msgspec.Struct):
    """What came of a run."""

    order: Order
    verdict: Verdict
    kills: dict[str, int]
    storms: dict[str, int]
    repeated_calls: int
    changes: dict[str, int]
    done: dict[str, int]
    drained: bool
    drain_seconds: float
    ended_alone: list[str]
    last_words: list[str]
    directory: str = ""

    @property
    def is_clean(self) -> bool:
        """Nothing lost, nothing unexplained, everything settled in time."""
        return self.drained and not self.verdict.findings


async def run(order: Order) -> Outcome:
    """Play the script of this seed on a world of its own, and judge it."""
    directory = Path(tempfile.mkdtemp(prefix="tocsin-chaos-"))
    keep = order.keep  # of a run that fails
    try:
        outcome = await _run(order, directory)
        keep = order.keep and not (outcome.is_clean and not outcome.ended_alone)
        return msgspec.structs.replace(outcome, directory=str(directory) if keep else "")
    finally:
        if not keep:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


async def _run(order: Order, directory: Path) -> Outcome:
    script = write_script(order.seed, order.kills, order.seconds, order.size, order.queue)
    oldest = order.seed % 2 == 1  # what is promised is the same on each
    async with new_world(directory, order.queue, oldest_redis=oldest, lease_seconds=order.lease_seconds) as world:
        actor = Actor(script, world)
        hurry = asyncio.create_task(_hurry(world), name="hurry probes")
        try:
            await actor.populate()
            await actor.play()
            drained, seconds = await _drain(world, order.drain_seconds)
            counters = await actor.counters()
        finally:
            hurry.cancel()
            await asyncio.wait([hurry])
            await actor.close()
        record = await asyncio.to_thread(read_record, world)
        history = actor.history
        if order.keep:
            _dump(directory, world, actor, record)
        verdict = judge_run(script, world, history, record)
        verdict.findings += check_services(counters)
        return Outcome(
            order=order,
            verdict=verdict,
            kills=dict(Counter(each.kind for each in world.kills)),
            storms=dict(Counter(each.name for each in history.storms)),
            repeated_calls=history.repeated_calls,
            changes=dict(Counter(each.verb for changes in history.changes.values() for each in changes)),
            done=_done(history),
            drained=drained,
            drain_seconds=seconds,
            ended_alone=world.ended_alone,
            last_words=await asyncio.to_thread(_last_words, directory / "log"),
        )


async def _drain(world: World, most_seconds: float) -> tuple[bool, float]:
    """Wait until nothing is left to send; whether that came in time, and how long it took."""
    started = time.monotonic()
    while await asyncio.to_thread(unfinished, world):
        if time.monotonic() - started > most_seconds:
            return False, most_seconds
        await asyncio.sleep(0.25)
    return True, time.monotonic() - started


async def _hurry(world: World) -> None:
    """Every second, for as long as the run lasts."""
    while True:
        with suppress(psycopg.Error):  # the database is being killed all the time
            await asyncio.to_thread(hurry_probes, world, _PROBE_SECONDS)
        await asyncio.sleep(1.0)


def _done(history: History) -> dict[str, int]:
    """How many pushes met what."""
    sent = history.pushes.values()
    return {
        "paused": sum(bool(each.held) for each in sent),
        "cancelled": sum(each.push.cancel_after is not None for each in sent),
        "paced": sum(each.push.max_rate is not None for each in sent),
        "limited": sum(each.push.limit is not None or each.push.window is not None for each in sent),
        "templated": sum(each.push.templated for each in sent),
    }


def _last_words(log: Path) -> list[str]:
    """What the processes had to say that ended by themselves."""
    with log.open() as lines:
        return [line.strip() for line in lines if '"critical"' in line.lower()]


def _dump(directory: Path, world: World, actor: Actor, record: Record) -> None:
    facts = {"history": actor.history, "lives": world.lives, "kills": world.kills, "record": record}
    (directory / "facts.json").write_bytes(msgspec.json.encode(facts))
