"""A sender that loses a batch and claims it again itself, while its earlier attempt still waits for an answer."""

import msgspec
import pytest

from delivery.providers.credentials import parse_credential
from delivery.sender import SenderOptions
from emulators.apns import ApnsEmulator
from emulators.control import ConnectionsOrder
from storage import credentials
from storage.database import Database
from storage.ids import new_id
from storage.vault import Vault
from tests.delivery.providers.sending import apns_params
from tests.delivery.world import APNS, OPTIONS, MakeContext, World, ledger, until
from tests.server.relay import relayed

_LEASE = msgspec.structs.replace(OPTIONS, sender=SenderOptions(lease_seconds=4.0, poll_seconds=0.1))


async def test_the_earlier_attempt_ends_without_a_word_when_the_later_has_settled(
    world: World, database: Database, vault: Vault, context: MakeContext, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        ApnsEmulator(initial_streams=2, max_streams_after_first=2) as narrow,
        relayed(database.url) as relay,
        Database(relay.url) as through_relay,
    ):
        await credentials.put(database, vault, parse_credential(apns_params(narrow, max_connections=1)))
        await world.registered(1, "first")
        await world.registered(1, "test")
        async with World(through_relay, vault, context).worker(_LEASE):
            # until its first answer a connection takes one request alone
            await world.reached(
                await world.send(recipient={"channels": ["first"]}, notification={"apns": APNS}), "done"
            )
            narrow.set_faults([{"match": {"count": 1}, "action": {"stall": True}}])
            uid = await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS})
            await until(lambda: narrow.counters().requests == 2)
            relay.freeze()
            await until(lambda: "leases could not be kept" in caplog.text)
            # somebody had it meanwhile, and is gone
            await database.execute(b"update batches set claimed_by = %(other)s, due_at = now()", {"other": new_id()})
            relay.thaw()
            status = await world.reached(uid, "done")
            narrow.order_connections(ConnectionsOrder(drop=True))
            await until(lambda: "leases were lost before settling" in caplog.text)
        assert ledger(status) == {"planned": 1, "accepted": 1}
        assert "callback of a group failed" not in caplog.text
