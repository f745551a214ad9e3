"""One run from its seed to its verdict."""

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec

from tests.chaos.acting import Actor
from tests.chaos.judgement import Verdict, judge_run
from tests.chaos.record import read_record, unfinished
from tests.chaos.script import Size, write_script
from tests.chaos.world import World, new_world


class Order(msgspec.Struct, frozen=True):
    """What to run; times in seconds. `keep`: leave the run's directory for a look, should it find anything."""

    seed: int
    kills: int
    seconds: float
    drain_seconds: float = 300.0
    size: Size = Size()
    keep: bool = True


class Outcome(msgspec.Struct):
    """What came of a run."""

    order: Order
    verdict: Verdict
    kills: dict[str, int]
    storms: dict[str, int]
    repeated_calls: int
    changes: int
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
    keep = False
    try:
        outcome = await _run(order, directory)
        keep = order.keep and not outcome.is_clean
        return msgspec.structs.replace(outcome, directory=str(directory) if keep else "")
    finally:
        if not keep:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


async def _run(order: Order, directory: Path) -> Outcome:
    script = write_script(order.seed, order.kills, order.seconds, order.size)
    async with new_world(directory) as world:
        actor = Actor(script, world)
        try:
            await actor.populate()
            await actor.play()
            drained, seconds = await _drain(world, order.drain_seconds)
        finally:
            await actor.close()
        record = await asyncio.to_thread(read_record, world)
        history = actor.history
        if order.keep:
            _dump(directory, world, actor)
        return Outcome(
            order=order,
            verdict=judge_run(script, world, history, record),
            kills=dict(Counter(each.kind for each in world.kills)),
            storms=history.storms,
            repeated_calls=history.repeated_calls,
            changes=sum(map(len, history.changes.values())),
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


def _last_words(log: Path) -> list[str]:
    """What the processes had to say that ended by themselves."""
    with log.open() as lines:
        return [line.strip() for line in lines if '"critical"' in line.lower()]


def _dump(directory: Path, world: World, actor: Actor) -> None:
    facts = {"history": actor.history, "lives": world.lives, "kills": world.kills}
    (directory / "facts.json").write_bytes(msgspec.json.encode(facts))
