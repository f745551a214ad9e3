"""One run: an installation on several hosts, and the scenarios that were asked for, one after the other."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from tests.hosts import clocks, losses, pauses, together
from tests.hosts.checks import Section
from tests.hosts.world import ROOT, World, new_world

SCENARIOS: Mapping[str, Callable[[World], Awaitable[Section]]] = {
    "rest": together.rest,
    "single": together.send_single,
    "share": together.share_the_work,
    "lanes": together.keep_lanes,
    "turns": together.take_turns,
    "stop": together.stop_together,
    "pause": pauses.hold_together,
    "rates": together.keep_rates,
    "cut-db": losses.cut_from_database,
    "cut-all": losses.cut_from_everything,
    "power": losses.lose_power,
    "clocks": clocks.stray,
}
_TOPICS = {"all": 6000, "some": 2000, "few": 200}


class Order(msgspec.Struct, frozen=True):
    """What to run. `settings` go to every program; in them and in `beside`, `{address}` is the database's address."""

    scenarios: list[str]
    hosts: int = 3
    loopback: bool = False
    beside: str = ""
    tree: Path = ROOT
    settings: dict[str, str] = {}
    topics: dict[str, int] = msgspec.field(default_factory=lambda: dict(_TOPICS))


async def run(order: Order, directory: Path, say: Callable[[Section], None]) -> tuple[str, list[Section]]:
    """Play the scenarios; the kind of network that there was, and what came of each."""
    sections: list[Section] = []
    async with new_world(
        directory,
        order.hosts,
        tree=order.tree,
        loopback=order.loopback,
        settings=order.settings,
        beside=order.beside,
    ) as world:
        for place, (topic, count) in enumerate(order.topics.items()):
            world.register(topic, place * 1_000_000, count)
        async with asyncio.TaskGroup() as group:
            for host in range(1, order.hosts + 1):
                group.create_task(world.start_host(host))
        for name in order.scenarios:
            section = await SCENARIOS[name](world)
            sections.append(section)
            say(section)
        return world.network.kind, sections
