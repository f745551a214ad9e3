"""What follows the record, beside a worker that sends: counts, webhooks and exports of one push."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec

from delivery.outflow import Outflow, OutflowOptions
from delivery.providers.credentials import parse_credential
from emulators.apns import ApnsEmulator
from storage import credentials
from storage.database import Database
from storage.vault import Vault
from tests.delivery.providers.sending import apns_params
from tests.delivery.recording import OPTIONS, caught_up
from tests.delivery.webhooks.receiver import receiving
from tests.delivery.webhooks.telling import LOOPBACK, QUICK, Teller
from tests.delivery.world import APNS, MakeContext, World


async def test_what_a_worker_sends_is_counted_told_and_exported(
    database: Database, vault: Vault, context: MakeContext, apns_emulator: ApnsEmulator, tmp_path: Path
) -> None:
    await credentials.put(database, vault, parse_credential(apns_params(apns_emulator)))
    world, teller = World(database, vault, context), Teller(database, vault)
    await world.registered(30, "test")
    path = tmp_path / "outcomes.jsonl"
    options = OutflowOptions(feed=OPTIONS, delivery=QUICK, allowed=LOOPBACK, export_file=str(path))
    async with receiving() as app:
        await database.execute(
            b"update credentials set settings = settings || %(hook)s::jsonb",
            {"hook": json.dumps({"outcome_url": app.url})},
        )
        outflow = asyncio.create_task(Outflow(database, vault, options).run())
        try:
            for name in ("stats", "webhooks", "export_file"):
                await caught_up(database, name)
            async with world.worker():
                uid = await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS})
                await world.reached(uid, "done")
            for name in ("stats", "webhooks", "export_file"):
                await caught_up(database, name)
            assert await teller.ended() == []
        finally:
            outflow.cancel()
            await asyncio.wait([outflow])
    written: list[dict[str, Any]] = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    told = sorted(app.events, key=lambda event: str(event["id"]))
    assert told == sorted(written, key=lambda event: str(event["id"]))
    assert len({event["device_id"] for event in told}) == 30
    assert {(event["push"], event["outcome"]) for event in told} == {(uid, "accepted")}
    sent = {request.message_id for request in apns_emulator.requests(limit=1000)}
    assert {event["message_id"] for event in told} == sent
    counted = await database.values(
        b"select outcome, sum(count)::integer from outcome_stats where width = 60 group by 1", {}
    )
    assert counted == [("accepted", 30)]
