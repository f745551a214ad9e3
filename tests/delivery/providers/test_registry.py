"""The registry follows the credentials: new ones serve, replaced ones finish what they have begun."""

import msgspec

from delivery.providers.registry import Registry, build_provider
from emulators.apns import ApnsEmulator
from storage.credentials import StoredCredential
from tests.delivery.providers.sending import (
    APNS_PAYLOAD,
    Watched,
    apns_params,
    batch_of,
    fault,
    send,
    stored,
    until,
)


class Table:
    """The credentials, as the database would give them."""

    def __init__(self, *rows: StoredCredential) -> None:
        self.rows = list(rows)

    async def load(self) -> list[StoredCredential]:
        return self.rows


async def test_a_credential_serves_until_it_is_removed(apns_emulator: ApnsEmulator) -> None:
    table = Table(stored(apns_params(apns_emulator)))
    async with Registry(table.load) as registry:
        provider = registry.get("main")
        assert provider is not None
        assert not (await send(provider, batch_of(), APNS_PAYLOAD)).exceptions
        await registry.refresh()
        assert registry.get("main") is provider
        table.rows.clear()
        await registry.refresh()
        assert registry.get("main") is None
        assert registry.ids() == []


async def test_a_changed_credential_gets_a_new_provider_and_the_old_one_loses_no_report(
    apns_emulator: ApnsEmulator,
) -> None:
    table = Table(stored(apns_params(apns_emulator)))
    async with Registry(table.load) as registry:
        old = registry.get("main")
        assert old is not None
        apns_emulator.set_faults([fault({"delay_ms": 50})])
        batch = batch_of(3)
        watched = Watched(batch)
        old.submit(batch, old.prepare(msgspec.Raw(APNS_PAYLOAD), batch), watched.results)
        await until(lambda: apns_emulator.counters().peak_streams > 0)
        table.rows = [stored(apns_params(apns_emulator), version=2)]
        await registry.refresh()
        assert registry.get("main") not in (None, old)
        assert (await watched.end()).remaining == 0


async def test_a_credential_that_was_removed_and_made_again_gets_a_new_provider(apns_emulator: ApnsEmulator) -> None:
    row = stored(apns_params(apns_emulator))
    table = Table(row)
    async with Registry(table.load) as registry:
        first = registry.get("main")
        table.rows = [msgspec.structs.replace(row, created_at=2.0)]
        await registry.refresh()
        assert registry.get("main") is not first


async def test_a_credential_that_cannot_be_used_does_not_stop_the_others(apns_emulator: ApnsEmulator) -> None:
    good = stored(apns_params(apns_emulator))
    broken = msgspec.structs.replace(good, provider_id="broken", settings=b"{}")
    foreign = msgspec.structs.replace(good, provider_id="foreign", provider="hms")
    async with Registry(Table(broken, foreign, good).load) as registry:
        assert registry.ids() == ["main"]


async def test_a_provider_shows_no_secret(apns_emulator: ApnsEmulator) -> None:
    assert "PRIVATE" not in repr(build_provider(stored(apns_params(apns_emulator))))
