"""A host is lost while it holds work: cut from the database, cut from everything, or without power."""

import asyncio
import time
from typing import Any

from tests.hosts.checks import Section, accepted, doubled, missing, sums
from tests.hosts.services import Arrival
from tests.hosts.world import World

_LOST = 2
_DELAY_MS = 300  # so that what is lost has much in flight
_AWAY_SECONDS = 20.0
_LATE_SECONDS = 6.0  # after it is back: what it still holds comes to its end
_REFUSED = "leases were lost before settling"
_AGAIN_SECONDS = 90.0  # a pool of connections waits for up to a minute between two attempts
_HANDFUL = 30
_KINDS = ("at_least_once", "at_most_once")


async def cut_from_database(world: World) -> Section:
    """The host sends on what it holds, cannot say so, and is not believed when it is back."""
    return await _cut(world, "cut-db", "A host is cut from the database alone", services=False)


async def cut_from_everything(world: World) -> Section:
    """The host neither sends nor settles, and is not believed when it is back."""
    return await _cut(world, "cut-all", "A host is cut from everything", services=True)


async def lose_power(world: World) -> Section:
    """All processes of a host are killed at once; it is started again afterwards."""
    section = Section("SIGKILL to all of a host")
    before = await _begin(world, section, "power")
    await world.hosts[_LOST].kill()
    statuses = {kind: await world.done(f"power-{kind}") for kind in _KINDS}
    await world.start_host(_LOST)
    await _judge(world, section, "power", before, statuses)
    return section


async def _cut(world: World, name: str, title: str, *, services: bool) -> Section:
    section = Section(title)
    refused = world.hosts[_LOST].count(_REFUSED)
    before = await _begin(world, section, name)
    await world.network.cut(_LOST, services=services)
    await asyncio.sleep(_AWAY_SECONDS)
    statuses = {kind: await world.done(f"{name}-{kind}") for kind in _KINDS}
    ended = all(each["state"] == "done" for each in statuses.values())
    section.add("all settled while it was away", ended, "yes" if ended else "no")
    await world.network.heal(_LOST)
    back = time.time()
    refusal = await world.until(lambda: world.hosts[_LOST].count(_REFUSED) > refused, 30.0)
    await asyncio.sleep(_LATE_SECONDS)
    section.add("its settlement was refused when it was back", refusal, "yes" if refusal else "not seen in its log")
    later = {kind: await world.status(f"{name}-{kind}") for kind in _KINDS}
    same = all(_told(later[kind]) == _told(statuses[kind]) for kind in _KINDS)
    section.add("ledger and reasons after it was back", same, "as before" if same else f"{statuses} became {later}")
    late = [each for each in _of(world, name) if each.at > back]
    section.add("arrivals after it was back", True, len(late))
    await _judge(world, section, name, before, later)
    works = await _works(world, name, back)
    section.add("it takes work again", works is not None, "no" if works is None else f"after {works:.0f} s")
    return section


async def _begin(world: World, section: Section, name: str) -> float:
    """Two broadcasts, one of them at most once, until the host that is to be lost has its hands full."""
    await world.behave(_DELAY_MS)
    due = int(time.time()) + 2  # both at once: then each host holds some of both
    for kind in _KINDS:
        await world.send(f"{name}-{kind}", {"channels": ["all"]}, delivery=kind, send_at=due)
    held = await world.until(lambda: _has_both(world, name))
    at = time.time()
    section.add("it was sending both when it was lost", held, "yes" if held else "no: nothing was tried")
    return at


async def _judge(world: World, section: Section, name: str, before: float, statuses: dict[str, dict[str, Any]]) -> None:
    tokens = world.tokens("all")
    often, once = (world.arrivals(f"{name}-{kind}") for kind in _KINDS)
    section.add("at_least_once: recipients without a message", not missing(often, tokens), missing(often, tokens))
    twice = doubled(often)
    explained = _explained(world, often, twice, before)
    measured = f"{len(twice)} of {len(tokens):,}, {len(twice) - explained} of them not of the lost host"
    section.add("at_least_once: recipients with two messages", len(twice) == explained, measured)
    section.add("at_most_once: recipients with two messages", not doubled(once), len(doubled(once)))
    status = statuses["at_most_once"]
    unknown = sum(each["count"] for each in status.get("reasons", []) if each["outcome"] == "failed")
    absent = missing(once, tokens)
    section.add("at_most_once: reported as unknown, without a message", absent <= unknown, f"{unknown}, {absent}")
    for kind in _KINDS:
        ledger = statuses[kind]["ledger"]
        ok = sums(ledger) and not ledger["pending"] and ledger["planned"] == len(tokens)
        section.add(f"{kind}: the ledger sums", ok, {name: count for name, count in ledger.items() if count})


def _explained(world: World, arrivals: list[Arrival], twice: dict[str, int], lost_at: float) -> int:
    """How many of those that arrived twice had one of them from the host that was lost, or just before."""
    lost = world.network.address(_LOST).rpartition(".")[2]
    suspects = {
        each.token
        for each in accepted(arrivals)
        if each.peer.rpartition(".")[2] == lost or (not world.network.can_cut_services and each.at < lost_at + 60)
    }
    return sum(token in suspects and count == 2 for token, count in twice.items())


def _has_both(world: World, name: str) -> bool:
    """Whether the host that is to be lost has sent some of both, so that it holds more of them."""
    own = [each for each in _of(world, name) if world.network.name_of(each.peer) in ("", f"host {_LOST}")]
    return all(sum(each.uid == f"{name}-{kind}" for each in own) > _HANDFUL for kind in _KINDS)


def _of(world: World, name: str) -> list[Arrival]:
    return [each for each in world.arrivals() if each.uid.startswith(f"{name}-")]


def _told(status: dict[str, Any]) -> object:
    return (
        status["state"],
        status["ledger"],
        [(e["outcome"], e["reason"], e["count"]) for e in status.get("reasons", [])],
    )


async def _works(world: World, name: str, back: float) -> float | None:
    """Seconds until the host that was lost sends a part of another broadcast; None when it does not in time.

    Its connections to the push services come back by and by, so that it takes no work at first.
    """
    await world.behave()
    number = 0
    while time.time() < back + _AGAIN_SECONDS:
        number += 1
        uid = f"{name}-after-{number}"
        await world.send(uid, {"channels": ["some"]})
        await world.done(uid)
        own = [each.at for each in world.arrivals(uid) if world.network.name_of(each.peer) in ("", f"host {_LOST}")]
        if own:
            return own[0] - back
    return None
