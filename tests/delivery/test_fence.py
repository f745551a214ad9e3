"""A worker that is cut from the database sends no more of what it cannot keep; and what it makes of a wrong clock."""

import time

import msgspec
import pytest

from delivery.clocks import TOLERATED_SECONDS, Asked
from delivery.providers.credentials import parse_credential
from delivery.sender import SenderOptions
from emulators.apns import ApnsEmulator
from emulators.control import ConnectionsOrder
from storage import credentials
from storage.database import Database
from storage.vault import Vault
from tests.delivery.providers.sending import apns_params
from tests.delivery.world import APNS, OPTIONS, MakeContext, World, ledger, until
from tests.server.relay import relayed

_LEASE = msgspec.structs.replace(OPTIONS, sender=SenderOptions(lease_seconds=1.0, poll_seconds=0.1))


async def test_what_a_worker_cannot_keep_is_sent_by_another_alone(
    world: World, database: Database, vault: Vault, context: MakeContext, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        ApnsEmulator(initial_streams=1, max_streams_after_first=1) as narrow,
        relayed(database.url) as relay,
        Database(relay.url) as through_relay,
    ):
        await credentials.put(database, vault, parse_credential(apns_params(narrow, max_connections=1)))
        await world.registered(20, "test")
        narrow.set_faults([{"match": {"count": 1}, "action": {"stall": True}}])
        async with World(through_relay, vault, context).worker(_LEASE):
            uid = await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS})
            await until(lambda: narrow.counters().requests == 1)
            relay.freeze()
            await until(lambda: "leases could not be kept" in caplog.text)
            narrow.order_connections(ConnectionsOrder(drop=True))
            async with world.worker(_LEASE):
                status = await world.reached(uid, "done")
            assert ledger(status) == {"planned": 20, "accepted": 20}
            assert narrow.counters().requests == 21, "the one that was on its way, and each one once"
            relay.thaw()


def test_a_clock_is_wrong_when_the_database_cannot_have_said_so_meanwhile() -> None:
    asked = Asked()
    assert asked.ahead_seconds(time.time()) == 0.0
    assert asked.ahead_seconds(asked.wall - TOLERATED_SECONDS / 2) == 0.0
    assert asked.ahead_seconds(asked.wall - 300) == pytest.approx(300, abs=0.1)
    assert asked.ahead_seconds(asked.wall + 300) == pytest.approx(-300, abs=5)


def test_a_slow_answer_makes_no_clock_wrong() -> None:
    asked = Asked()
    asked.wall -= 20  # asked twenty seconds ago
    assert asked.ahead_seconds(time.time() - 19) == 0.0
    assert asked.ahead_seconds(time.time() - 21) == pytest.approx(1, abs=0.1)
