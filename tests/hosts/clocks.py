"""Hosts whose clocks are five minutes ahead or behind: nothing may expire early, be sent late, or be tried at once.

Needs Debian's `faketime`, whose library shifts the time of a program and leaves its monotonic clock alone.
"""

import asyncio
import time
from pathlib import Path

from tests.hosts.checks import Section, doubled, missing, most_within, sums
from tests.hosts.services import Arrival
from tests.hosts.world import World

_LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
_STRAY = 2
_SHIFT = 300
_FEW = 50
_RETRY_SECONDS = 4
_PATIENCE_SECONDS = 20.0


async def stray(world: World) -> Section:
    """One host alone with a wrong clock, ahead and behind; then one ahead among others."""
    section = Section("Clocks that are five minutes wrong")
    if not _installed():
        section.add("faketime", ok=False, measured="not installed: apt-get install faketime")
        return section
    for host in world.hosts:
        await world.hosts[host].stop()
    for shift in (_SHIFT, -_SHIFT):
        await _alone(world, section, shift)
    for host in world.hosts:
        await world.start_host(host, _shifted(_SHIFT) if host == _STRAY else None)
    await _among_others(world, section)
    await world.hosts[_STRAY].stop()
    await world.start_host(_STRAY)
    return section


async def _alone(world: World, section: Section, shift: int) -> None:
    """All the work is done by the stray host."""
    await world.behave(20)
    name = "ahead" if shift > 0 else "behind"
    over = f"clock-{name}-over"
    end = int(time.time()) + 3
    await world.send(over, {"apns_tokens": world.tokens("few")[:_FEW]}, expire_at=end)
    await asyncio.sleep(end + 1.0 - time.time())
    await world.start_host(_STRAY, _shifted(shift))
    await world.done(over, _PATIENCE_SECONDS)
    late = len([each for each in world.arrivals(over) if each.at > end])
    section.add(f"{name}: sent after expire_at", not late, f"{late} of {_FEW}")
    await _expiry(world, section, name)
    await _retry(world, section, name)
    await _google(world, section, name)
    await world.hosts[_STRAY].stop()


async def _expiry(world: World, section: Section, name: str) -> None:
    uid = f"clock-{name}-expire"
    await world.send(uid, {"apns_tokens": world.tokens("few")[:_FEW]}, expire_at=int(time.time()) + 120)
    status = await world.done(uid, _PATIENCE_SECONDS)
    expired = status["ledger"]["expired"]
    section.add(f"{name}: expired two minutes before expire_at", not expired, f"{expired} of {_FEW}")


async def _retry(world: World, section: Section, name: str) -> None:
    uid = f"clock-{name}-retry"
    refusal = {"status": 503, "reason": "ServiceUnavailable", "retry_after": _RETRY_SECONDS}
    await world.order("/faults", [{"match": {"count": _FEW}, "action": refusal}])
    await world.send(uid, {"apns_tokens": world.tokens("few")[:_FEW]})
    await world.done(uid, _PATIENCE_SECONDS)
    waits = _waits(world.arrivals(uid))
    said = f"{len(waits)} of {_FEW} came again, after {min(waits, default=0.0):.1f} to {max(waits, default=0.0):.1f} s"
    ok = len(waits) == _FEW and min(waits) >= _RETRY_SECONDS
    section.add(f"{name}: Retry-After of {_RETRY_SECONDS} s is kept", ok, said)
    await world.call("cancel_push", uid=uid)


async def _google(world: World, section: Section, name: str) -> None:
    uid = f"clock-{name}-fcm"
    await world.send(uid, {"fcm_tokens": [f"{token}:APA91b" for token in world.tokens("few")[:_FEW]]})
    status = await world.done(uid, _PATIENCE_SECONDS)
    taken = status["ledger"]["accepted"]
    paused = ", ".join(each["reason"] for each in status.get("paused", []))
    section.add(f"{name}: FCM takes its tokens", taken == _FEW, f"{taken} of {_FEW} accepted; paused: {paused or 'no'}")
    await world.call("cancel_push", uid=uid)
    await world.call("provider_put", **world.services.credentials["fcm"])


async def _among_others(world: World, section: Section) -> None:
    """A limit that all count, a broadcast, and FCM, by good hosts and a stray one together."""
    await world.behave(20)
    limit = {"rate_limit": {"key": "strays", "policies": [{"rate": 40, "interval_ms": 2000}]}}
    begun = await world.send("clock-policy", {"channels": ["few"]}, limit_strategy=limit)
    await world.done("clock-policy", 2 * _PATIENCE_SECONDS)
    found, tokens = world.arrivals("clock-policy"), world.tokens("few")
    most = most_within((each.at for each in found), 1.8)
    said = f"{most}; {len(found)} of {len(tokens)} within {found[-1].at - begun:.0f} s"
    section.add("among others: rate_limit 40 in 2 s, most in 1.8 s", most <= 40, said)
    section.add("among others: the limit keeps nobody for minutes", len(found) == len(tokens), said)
    await world.call("cancel_push", uid="clock-policy")
    await world.send("clock-all", {"channels": ["some"]})
    status = await world.done("clock-all")
    found, tokens = world.arrivals("clock-all"), world.tokens("some")
    whole = sums(status["ledger"]) and not missing(found, tokens) and not doubled(found)
    section.add("among others: a broadcast", whole, f"{missing(found, tokens)} missing, {len(doubled(found))} twice")


def _installed() -> bool:
    return _LIBRARY.exists()


def _waits(arrivals: list[Arrival]) -> list[float]:
    """Seconds from the first to the second request of each token."""
    first: dict[str, float] = {}
    waits = []
    for each in arrivals:
        if each.token in first:
            waits.append(each.at - first[each.token])
        first[each.token] = each.at
    return waits


def _shifted(seconds: int) -> dict[str, str]:
    return {"LD_PRELOAD": str(_LIBRARY), "FAKETIME": f"{seconds:+d}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
