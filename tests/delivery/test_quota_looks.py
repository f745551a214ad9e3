"""A sender looks often enough at what waits for a quota."""

import msgspec

from delivery.providers.credentials import parse_credential
from delivery.sender import SenderOptions
from emulators.apns import ApnsEmulator
from storage import credentials
from storage.database import Database
from storage.vault import Vault
from tests.delivery.providers.sending import apns_params
from tests.delivery.world import APNS, OPTIONS, World, ledger

_SELDOM = msgspec.structs.replace(OPTIONS, sender=SenderOptions(poll_seconds=60.0))


async def test_a_quota_is_used_without_waiting_for_the_poll(
    world: World, database: Database, vault: Vault, apns_emulator: ApnsEmulator
) -> None:
    quota = apns_params(apns_emulator, quota_per_minute=12_000, ramp_up_seconds=0)
    await credentials.put(database, vault, parse_credential(quota))
    await world.registered(300, "test")
    async with world.worker(_SELDOM):
        uid = await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS})
        assert ledger(await world.reached(uid, "done")) == {"planned": 300, "accepted": 300}
