"""A database that cannot write another page: an embedded one under a limit on the size of its files.

Any user may set that limit, where a small file system takes privileges. Files that fill are what a full disk is to
PostgreSQL, but for the SQLSTATE (XX000 instead of 53100, of which tests/contract/errors/100_disk_full.json tells).
"""

import asyncio
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.app import Limits
from server.embedded import Embedded
from storage import migrations
from storage.database import Database
from tests.contract.serving import in_process, served

_LIMIT = 17 << 20  # WAL segments are files of 16 MiB, made whole
_PATIENCE_SECONDS = 120.0
_CALLS = 200
_UNAVAILABLE = {"code": 100, "message": "internal server error", "data": {"retry_after": 1.0}}
_CREDENTIAL = b"""
    insert into credentials (provider_id, provider, is_default, source, settings, secrets)
    values ('fcm', 'fcm', true, 'api', '{}', '')
"""
_KNOWN = b"select uid from pushes where uid = any(%(uids)s)"


@pytest.fixture
def embedded() -> Iterator[Embedded]:
    directory = tempfile.mkdtemp(prefix="tocsin-full-")
    try:
        made = Embedded(Path(directory) / "postgres", {"fsync": "off", "autovacuum": "off", "shared_buffers": "32MB"})
        made.prepare()
        yield made
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def _running(embedded: Embedded, limit: int = resource.RLIM_INFINITY) -> AsyncIterator[str]:
    """Run it with this limit on the size of a file; yield the URL of our database."""
    with embedded.open_log() as log:
        options = embedded.process_options(log)
        die_with_us = options["preexec_fn"]

        def prepare() -> None:
            die_with_us()
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

        process = subprocess.Popen(embedded.command(), **{**options, "preexec_fn": prepare})  # noqa: ASYNC220
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not await asyncio.to_thread(embedded.accepts):
                assert process.poll() is None, embedded.last_words()
            yield await asyncio.to_thread(embedded.ensure_database)
    finally:
        process.send_signal(embedded.STOP_SIGNAL)
        await asyncio.to_thread(process.wait)


def _push(uid: str) -> dict[str, Any]:
    message = {"notification": {"title": "t", "body": os.urandom(1700).hex()}}
    return {"recipient": {"fcm_tokens": ["t"]}, "notification": {"fcm": {"message": message}}, "uid": uid}


async def _send(client: httpx.AsyncClient, key: str, uids: list[str]) -> dict[str, dict[str, Any]]:
    """Send a push for each uid; the reply to each."""
    commands = [{"send_push_notification": _push(uid)} for uid in uids]
    answer = await client.post("/api/batch", headers={"X-API-Key": key}, json={"commands": commands, "parallel": True})
    return dict(zip(uids, answer.json()["replies"], strict=True))


async def test_a_full_disk_is_told_and_nothing_accepted_is_lost(embedded: Embedded) -> None:
    accepted: list[str] = []
    refused: list[str] = []
    limits = Limits(max_body_bytes=1 << 24)
    async with _running(embedded, _LIMIT) as url:
        async with Database(url) as database:
            await migrations.apply(database)
            await database.execute(_CREDENTIAL, {})
        async with served(url, limits, fail_fast=True) as server, in_process(server.app) as client:
            while not refused:
                uids = [f"push-{len(accepted) + each}" for each in range(_CALLS)]
                replies = await _send(client, server.key, uids)
                accepted += [uid for uid, reply in replies.items() if "error" not in reply]
                refused += [uid for uid, reply in replies.items() if "error" in reply]
                assert all(replies[uid] == {"error": _UNAVAILABLE} for uid in refused)
    async with _running(embedded) as url:
        async with Database(url) as database:
            await database.execute(b"delete from api_keys", {})  # `served` makes them anew
        await _compare(url, limits, accepted, refused)


async def _compare(url: str, limits: Limits, accepted: list[str], refused: list[str]) -> None:
    """What was accepted is there, nothing else is, and what was refused is accepted now."""
    async with served(url, limits) as server, in_process(server.app) as client:
        known = await server.database.values(_KNOWN, {"uids": accepted + refused})
        assert sorted(uid for (uid,) in known) == sorted(accepted)
        again = await _send(client, server.key, refused)
        assert all(reply == {"send_push_notification": {"uid": uid}} for uid, reply in again.items())
