"""A rolling upgrade while pushes are sent: migrate under the old release, replace its workers one by one, then its API.

    python -m tests.hosts.upgrade --since 05586f8

The old release is that commit, the new one this tree as it is, with one more migration that is made up for the run.
Nothing may be lost or sent twice, and neither release may log an error, whichever of them made the schema.
"""

import argparse
import asyncio
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests.hosts.checks import Section, doubled, missing, sums
from tests.hosts.report import text_of
from tests.hosts.world import ROOT, World, new_world

_ROOMS = ("server", "methods", "delivery", "storage", "sql", "emulators")
_MADE_UP = """
alter table pushes add column trial_note text not null default '';
alter table batches add column trial_note text;
alter table devices add column trial_note text;
create table trial_notes (id bigint generated always as identity primary key, said text not null);
"""
_STEP_SECONDS = 4.0  # of load between two steps
_GAP_SECONDS = 0.05
_AGAIN_SECONDS = 0.1
_BAD = ('"level":"error"', '"level":"critical"', "Traceback")
_TOPIC, _DEVICES = "everybody", 12_000


class Trickle:
    """Registers a device and sends to it, again and again; what is not answered is asked again under the same uid."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.sent: dict[str, str] = {}
        self.unanswered = 0
        self.refused: list[str] = []
        self.longest = 0.0

    async def run(self) -> None:
        """Until cancelled; each push is noted once it was accepted."""
        number = 0
        while True:
            number += 1
            token = f"{number:064x}"
            device = {"provider": "apns", "platform": "ios", "token": token, "user": f"trickle-{number}"}
            await self._call("device_register", **device)
            await self._send(f"trickle-{number}", token, number)
            await asyncio.sleep(_GAP_SECONDS)

    async def _send(self, uid: str, token: str, number: int) -> None:
        by = {"users": [f"trickle-{number}"]} if number % 2 else {"apns_tokens": [token]}
        message = {"apns": {"payload": {"aps": {"alert": "x"}, "run": uid}}}
        await self._call("send_push_notification", uid=uid, recipient=by, notification=message)
        self.sent[uid] = token
        if number % 5 == 0:
            await self._call("push_status", uid=uid)
            await self._call("device_list", filter={"users": [f"trickle-{number}"]})
            await self._call("provider_list")

    async def _call(self, method: str, **params: Any) -> None:
        asked = time.monotonic()
        while True:
            try:
                await self._world.call(method, **params)
            except (httpx.HTTPError, msgspec.DecodeError, ValueError):
                self.unanswered += 1
                await asyncio.sleep(_AGAIN_SECONDS)
            except RuntimeError as error:
                self.refused.append(str(error))
                return
            else:
                self.longest = max(self.longest, time.monotonic() - asked)
                return


async def upgrade(directory: Path, old: Path, new: Path, *, loopback: bool = False) -> Section:
    """Play it, from the old tree to the new one."""
    section = Section("A rolling upgrade during broadcasts")
    async with new_world(directory, 2, tree=old, loopback=loopback) as world:
        world.register(_TOPIC, 5_000_000, _DEVICES)
        for host in (1, 2):
            await world.start_host(host)
        await world.behave(100)
        trickle = Trickle(world)
        running = asyncio.create_task(trickle.run(), name="trickle")
        try:
            broadcasts = await _steps(world, new, section)
        finally:
            running.cancel()
            await asyncio.wait([running])
        if not running.cancelled() and running.exception() is not None:
            raise RuntimeError("the trickle ended") from running.exception()
        await _judge(world, section, trickle, broadcasts)
    return section


async def _steps(world: World, new: Path, section: Section) -> list[str]:
    """Each step in the middle of a broadcast; the broadcasts' uids."""
    uids = []

    async def broadcast(name: str) -> None:
        uids.append(name)
        await world.send(name, {"channels": [_TOPIC]})
        await asyncio.sleep(_STEP_SECONDS)

    await broadcast("before")
    world.tree = new
    started = time.monotonic()
    await world.migrate()
    at = world.sql("select max(version) from schema_migrations")[0][0]
    section.add("migrated under load", ok=True, measured=f"to {at:04} in {time.monotonic() - started:.1f} s, all told")
    await broadcast("old-code-new-schema")
    for host in (1, 2):
        await world.hosts[host].stop()
        await world.start_host(host)
        await broadcast(f"new-on-host-{host}")
    if world.api is not None:
        await world.api.stop()
    await world.start_api()
    await broadcast("all-new")
    return uids


async def _judge(world: World, section: Section, trickle: Trickle, broadcasts: Sequence[str]) -> None:
    tokens = world.tokens(_TOPIC)
    for uid in broadcasts:
        status = await world.done(uid, 180.0)
        found = world.arrivals(uid)
        ok = not missing(found, tokens) and not doubled(found) and sums(status["ledger"]) and status["state"] == "done"
        section.add(f"broadcast {uid}", ok, f"{missing(found, tokens)} missing, {len(doubled(found))} twice")
    for uid in trickle.sent:
        await world.done(uid, 60.0)
    found = [each for each in world.arrivals() if each.uid in trickle.sent]
    absent, twice = missing(found, list(trickle.sent.values())), doubled(found)
    section.add(
        "single pushes", not absent and not twice, f"{absent} of {len(trickle.sent)} missing, {len(twice)} twice"
    )
    section.add("calls that the API refused", not trickle.refused, trickle.refused[:3] or 0)
    said = f"{trickle.unanswered} tries without an answer, the longest call {trickle.longest:.1f} s"
    section.add("while the one API was replaced", ok=True, measured=said)
    bad = _errors(world.directory)
    section.add("errors in the logs", not bad, bad[:5] or 0)


def _errors(directory: Path) -> list[str]:
    """Lines that no log should have."""
    found = []
    for log in sorted(directory.glob("*.log")):
        found += [f"{log.name}: {line[:300]}" for line in log.read_text().splitlines() if any(b in line for b in _BAD)]
    return found


def old_tree(commit: str, folder: Path) -> Path:
    """The tree of a commit, unpacked."""
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def new_tree(folder: Path) -> Path:
    """This tree as it is now, and a migration that changes tables which are in use."""
    for room in _ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    known = len(list((folder / "sql/migrations").glob("[0-9]*.sql")))
    (folder / "sql/migrations" / f"{known + 1:04}_made_up.sql").write_text(_MADE_UP)
    return folder


def main() -> int:
    """Run it; the exit code is 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.hosts.upgrade", description=__doc__)
    parser.add_argument("--since", default="HEAD", metavar="COMMIT", help="the old release (default: %(default)s)")
    parser.add_argument("--loopback", action="store_true", help="127.0.0.x instead of network namespaces")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave logs and notes here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tocsin-upgrade-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        directory = given.keep or folder / "run"
        directory.mkdir(parents=True)
        old = old_tree(given.since, folder / "old")
        section = asyncio.run(upgrade(directory.resolve(), old, new_tree(folder / "new"), loopback=given.loopback))
    sys.stdout.write(text_of(section) + "\n")
    return 0 if all(check.ok for check in section.checks) else 1


if __name__ == "__main__":
    os.nice(5)
    sys.exit(main())
