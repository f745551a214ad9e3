"""A credential that its service refuses: every host stops, one probe at a time, and every host goes on."""

import asyncio
import itertools
import time

from tests.hosts.checks import Section, doubled, missing, shares, sums
from tests.hosts.world import World

_SETTLE_SECONDS = 2.0  # hosts look at the pauses every second
_HELD_SECONDS = 12.0
_PROBE_SECONDS = 3.0  # instead of half a minute
_HURRY = """
update pauses set next_probe_at = now() + make_interval(secs => %(seconds)s)
where next_probe_at > now() + make_interval(secs => %(seconds)s)
"""


async def hold_together(world: World) -> Section:
    """The service begins to refuse the credential in the middle of a broadcast, and takes it again later."""
    section = Section("A pause of a credential")
    await world.behave()
    await world.send("breaker", {"channels": ["all"]})
    await world.until(lambda: len(world.arrivals("breaker")) > 1000)
    await world.behave(50, status=403, reason="InvalidProviderToken")
    hurry = asyncio.create_task(_hurry(world), name="hurry probes")
    try:
        await world.until(lambda: any(each.status == 403 for each in world.arrivals("breaker")))
        tripped = time.time()
        await asyncio.sleep(_SETTLE_SECONDS + _HELD_SECONDS)
        await _judge_pause(world, section, tripped)
        await world.behave()
        lifted = time.time()
        status = await world.done("breaker")
        _judge_end(world, section, lifted, status["ledger"])
    finally:
        hurry.cancel()
        await asyncio.wait([hurry])
    return section


async def _judge_pause(world: World, section: Section, tripped: float) -> None:
    refused = [each.at for each in world.arrivals("breaker") if each.status == 403]
    at_once = [at for at in refused if at <= tripped + _SETTLE_SECONDS]
    spread = max(at_once) - min(at_once)
    section.add("refused before all hosts had stopped", True, f"{len(at_once)} requests within {spread * 1000:.0f} ms")
    probes = [at for at in refused if at > tripped + _SETTLE_SECONDS]
    gaps = [b - a for a, b in itertools.pairwise(probes)]
    alone = 0 < len(probes) <= _HELD_SECONDS / _PROBE_SECONDS + 1 and min(gaps, default=9.0) > _PROBE_SECONDS / 2
    said = f"{len(probes)} in {_HELD_SECONDS:.0f} s, the nearest two {min(gaps, default=0.0):.1f} s apart"
    section.add(f"probes (hurried to one in {_PROBE_SECONDS:.0f} s), of all hosts", alone, said)
    items = (await world.call("provider_list"))["items"]
    state = next(each["state"] for each in items if each["provider_id"] == "hosts-apns")
    section.add("provider_list says", state == "paused", state)


def _judge_end(world: World, section: Section, lifted: float, ledger: dict[str, int]) -> None:
    found, tokens = world.arrivals("breaker"), world.tokens("all")
    after = [each for each in found if each.accepted and each.at > lifted]
    section.add("seconds until the first is taken again", after[0].at - lifted < 10, f"{after[0].at - lifted:.1f}")
    hosts = len(shares(after))
    section.add("hosts that went on", hosts == len(world.hosts) or not world.network.can_cut_services, hosts)
    section.add("recipients without a message", not missing(found, tokens), missing(found, tokens))
    section.add("recipients with two", not doubled(found), len(doubled(found)))
    refused = ledger.get("failed", 0)
    section.add("ended by a probe's refusal", sums(ledger), f"{refused} failed, {ledger['accepted']} accepted")


async def _hurry(world: World) -> None:
    while True:
        await asyncio.to_thread(world.sql, _HURRY, {"seconds": _PROBE_SECONDS})
        await asyncio.sleep(0.5)
