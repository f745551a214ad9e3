"""What hosts do together: they share the work, keep lanes and turns, and stop when one is told to."""

import asyncio
import time

from tests.bench.processes import cpu_seconds
from tests.hosts.checks import Section, accepted, doubled, missing, most_within, percentile, shares, sums
from tests.hosts.services import Arrival
from tests.hosts.world import World

_COMMITS = "select xact_commit from pg_stat_database where datname = 'tocsin'"
_USERS = "select user_id from devices where user_id like 'all-%%' order by id limit %(count)s"
_REST_SECONDS = 15.0
_HELD_SECONDS = 5.0  # a host holds a thousand recipients of a credential, 2.5 s of them at 400/s
_SINGLES, _CALLERS = 3000, 32
_URGENT = 30
_STOP_SECONDS = 2.0  # a delayed answer, a second of looking, and what a busy machine adds


async def rest(world: World) -> Section:
    """What hosts without work ask of the database."""
    section = Section("Hosts that have nothing to do")
    await asyncio.sleep(2.0)
    before, cpu = world.sql(_COMMITS)[0][0], cpu_seconds([world.postgres])
    await asyncio.sleep(_REST_SECONDS)
    commits, cpu = world.sql(_COMMITS)[0][0] - before, cpu_seconds([world.postgres]) - cpu
    each = len(world.hosts) * _REST_SECONDS
    section.add("transactions a second for each, API and all", commits / each < 100, f"{commits / each:.0f}")
    section.add("CPU of the database for each", True, f"{cpu / each * 1000:.1f} ms a second")
    return section


async def send_single(world: World) -> Section:
    """What a push to one user costs, accepted by one API process and sent by all hosts."""
    section = Section("Single pushes")
    await world.behave(20)
    users = iter([row[0] for row in world.sql(_USERS, {"count": _SINGLES})])

    async def send() -> None:
        for user in users:
            await world.send(f"single-{user}", {"users": [user]})

    roots = {"API": [world.api.process.pid] if world.api else [], "database": [world.postgres]}
    roots["senders"] = [program.process.pid for program in world.hosts.values()]
    before, started = {name: cpu_seconds(pids) for name, pids in roots.items()}, time.time()
    async with asyncio.TaskGroup() as group:
        for _ in range(_CALLERS):
            group.create_task(send())
    arrived = await world.until(lambda: len(_singles(world)) >= _SINGLES)
    found, seconds = _singles(world), time.time() - started
    used = {name: (cpu_seconds(pids) - before[name]) / _SINGLES * 1000 for name, pids in roots.items()}
    section.add("pushes that arrived once", arrived and not doubled(found), f"{len(found):,} of {_SINGLES:,}")
    said = ", ".join(f"{name} {used[name]:.2f} ms" for name in roots)
    section.add("CPU of each push", ok=True, measured=f"{said} (at {_SINGLES / seconds:,.0f}/s)")
    return section


def _singles(world: World) -> list[Arrival]:
    return [each for each in world.arrivals() if each.uid.startswith("single-")]


async def share_the_work(world: World) -> Section:
    """A broadcast is sent by all hosts, each recipient once."""
    section = Section("All hosts take work, and nothing goes twice")
    await world.behave()
    started = time.time()
    await world.send("share", {"channels": ["all"]})
    status = await world.done("share")
    found, tokens = world.arrivals("share"), world.tokens("all")
    by_host = {world.network.name_of(peer) or peer: share for peer, share in shares(found).items()}
    parts = ", ".join(f"{name} {share:.0%}" for name, share in by_host.items())
    even = len(by_host) == len(world.hosts) and min(by_host.values()) > 0.5 / len(world.hosts)
    section.add("share of each host", even or not world.network.can_cut_services, parts)
    section.add("recipients without a message", not missing(found, tokens), missing(found, tokens))
    section.add("recipients with two", not doubled(found), len(doubled(found)))
    ledger = status["ledger"]
    section.add("the ledger sums", sums(ledger) and ledger["accepted"] == len(tokens), ledger)
    rate = len(found) / (found[-1].at - started)
    section.add("seconds from the call to the last arrival", True, f"{found[-1].at - started:.1f} ({rate:,.0f}/s)")
    return section


async def keep_lanes(world: World) -> Section:
    """Urgent pushes during a broadcast do not wait for it, whichever host sends them."""
    section = Section("Urgent pushes during a broadcast")
    tokens = world.tokens("few")
    await world.behave()
    begun = await world.send("lanes-bulk", {"channels": ["all"]})
    await world.until(lambda: bool(world.arrivals("lanes-bulk")))
    section.add(
        "from the call to the first of the broadcast", True, f"{world.arrivals('lanes-bulk')[0].at - begun:.2f} s"
    )
    due: dict[str, float] = {}
    for number in range(_URGENT):
        uid = f"lanes-{number}"
        due[uid] = time.time()
        await world.send(uid, {"apns_tokens": [tokens[number]]}, priority="urgent")
        await asyncio.sleep(0.1)
    ended = time.time()
    arrived = await world.until(lambda: sum(each.uid in due for each in world.arrivals()) >= _URGENT)
    found = [each for each in world.arrivals() if each.uid in due]
    waits = [each.at - due[each.uid] for each in found]
    await world.done("lanes-bulk")
    over = len(world.tokens("all")) == len(accepted(world.arrivals("lanes-bulk")))
    section.add("urgent pushes that arrived once", arrived and len(found) == _URGENT, f"{len(found)} of {_URGENT}")
    worst = f"p50 {percentile(waits, 0.5) * 1000:.0f} ms, most {max(waits) * 1000:.0f} ms"
    section.add("from the call to the arrival", max(waits) < 2.0, worst)
    busy = max(each.at for each in world.arrivals("lanes-bulk"))
    section.add("the broadcast ran meanwhile", busy > ended - 0.5, f"{busy - due['lanes-0']:.1f} s")
    hosts = {each.peer for each in found}
    section.add("hosts that sent urgent ones", bool(hosts), len(hosts))
    section.add("the broadcast is whole", over, "yes" if over else "no")
    return section


async def take_turns(world: World) -> Section:
    """Two broadcasts of one credential get the same share while both have something to send."""
    section = Section("Two broadcasts take turns")
    await world.behave()
    await world.send("turns-first", {"channels": ["all"]})
    await asyncio.sleep(1.0)
    begun = await world.send("turns-second", {"channels": ["all"]})
    for uid in ("turns-first", "turns-second"):
        await world.done(uid)
    first, second = world.arrivals("turns-first"), world.arrivals("turns-second")
    wait = second[0].at - begun
    end = min(first[-1].at, second[-1].at)
    both = [each for each in first + second if second[0].at <= each.at <= end]
    share = sum(each.uid == "turns-second" for each in both) / len(both)
    section.add("wait of the second for its first arrival", wait < _HELD_SECONDS, f"{wait * 1000:.0f} ms")
    section.add("its share while both ran", 0.35 < share < 0.65, f"{share:.0%} of {len(both):,}")
    twice = len(doubled(first)) + len(doubled(second))
    section.add("recipients with two", not twice, twice)
    return section


async def stop_together(world: World) -> Section:
    """A pause stops all hosts in a moment, a resume starts them, a cancel ends it."""
    section = Section("push_pause and cancel_push stop all hosts")
    await world.behave()
    await world.send("stop", {"channels": ["all"]})
    await world.until(lambda: len(world.arrivals("stop")) > 800)
    await world.call("push_pause", uid="stop")
    paused = time.time()
    await asyncio.sleep(4.0)
    held = [each.at - paused for each in world.arrivals("stop") if each.at > paused]
    measured = f"{len(held)} arrivals, the last after {max(held, default=0.0) * 1000:.0f} ms"
    section.add("after push_pause was answered", max(held, default=0.0) < _STOP_SECONDS, measured)
    before = len(world.arrivals("stop"))
    await world.call("push_resume", uid="stop")
    went_on = await world.until(lambda: len(world.arrivals("stop")) > before + 800)
    section.add("after push_resume it goes on", went_on, "yes" if went_on else "no")
    await world.call("cancel_push", uid="stop")
    cancelled = time.time()
    status = await world.done("stop")
    await asyncio.sleep(2.0)
    found = world.arrivals("stop")
    late = [each.at - cancelled for each in found if each.at > cancelled]
    measured = f"{len(late)} arrivals, the last after {max(late, default=0.0) * 1000:.0f} ms"
    section.add("after cancel_push was answered", max(late, default=0.0) < _STOP_SECONDS, measured)
    ledger = status["ledger"]
    told = sums(ledger) and ledger["accepted"] == len(accepted(found)) and not ledger["pending"]
    section.add("the ledger says what arrived", told, ledger)
    section.add("recipients with two", not doubled(found), len(doubled(found)))
    return section


async def keep_rates(world: World) -> Section:
    """A rate of a push, a rate limit's policy and a credential's quota hold over all hosts together."""
    section = Section("Rates over all hosts")
    await world.behave(10)
    await _max_rate(world, section)
    await _policy(world, section)
    await _quota(world, section)
    return section


async def _max_rate(world: World, section: Section) -> None:
    await world.send("rate", {"channels": ["few"]}, max_rate=50)
    await world.done("rate")
    times = [each.at for each in world.arrivals("rate")]
    most, mean = most_within(times, 1.0), (len(times) - 1) / (times[-1] - times[0])
    # a second's rate, what the pump may be ahead by, and a batch let go though larger than what is left
    section.add("max_rate 50/s: most in a second, mean", most <= 50 * 1.4 + 25, f"{most}, {mean:.1f}/s of {len(times)}")


async def _policy(world: World, section: Section) -> None:
    limit = {"rate_limit": {"key": "everybody", "policies": [{"rate": 40, "interval_ms": 2000}]}}
    await world.send("policy", {"channels": ["few"]}, limit_strategy=limit)
    await world.done("policy")
    found = world.arrivals("policy")
    most = most_within((each.at for each in found), 1.8)  # from admission to arrival it is not always as long
    ok = most <= 40 and not missing(found, world.tokens("few")) and not doubled(found)
    section.add("rate_limit 40 in 2 s under one key: most in 1.8 s", ok, f"{most} of {len(found)}")


async def _quota(world: World, section: Section) -> None:
    credential = world.services.credentials["apns"]
    await world.call("provider_put", **credential, quota_per_minute=12_000, ramp_up_seconds=0)
    await world.send("quota", {"channels": ["some"]})
    await world.done("quota")
    times = [each.at for each in world.arrivals("quota")]
    most, mean = most_within(times, 1.0), (len(times) - 1) / (times[-1] - times[0])
    used = most <= 200 * 1.4 + 25 and mean > 200 * 0.75
    section.add("quota 12,000 a minute: most in a second, mean", used, f"{most}, {mean:.0f}/s")
    await world.call("provider_put", **credential)
