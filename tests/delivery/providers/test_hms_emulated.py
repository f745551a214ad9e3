"""The HMS provider and the emulated Push Kit, over both transports."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from delivery.outcomes import Kind, Outcome, Pause
from delivery.providers.hms import HmsProvider
from emulators.hms import HmsEmulator
from tests.delivery.providers.huawei import DATA, MESSAGE, batch
from tests.delivery.providers.sending import CLAIMED_AT, Watched, fault, send, stored

DEAD = Outcome(Kind.DEAD, "illegal_tokens", 410, proof_at=CLAIMED_AT)


@pytest.fixture
async def emulator(emulator_folder: Path) -> AsyncIterator[HmsEmulator]:
    async with HmsEmulator(data_dir=emulator_folder) as running:
        yield running


def params(emulator: HmsEmulator, **changes: Any) -> dict[str, Any]:
    return {
        "provider_id": "app",
        "provider": "hms",
        "app_id": emulator.app_id,
        "app_secret": emulator.app_secret(),
        "endpoint": emulator.url,
        "token_url": emulator.token_url,
        "tls_ca": emulator.authority.ca_pem,
    } | changes


@pytest.fixture(params=["httpx", "http2"])
async def hms(emulator: HmsEmulator, request: pytest.FixtureRequest) -> AsyncIterator[HmsProvider]:
    async with HmsProvider(stored(params(emulator, transport=request.param))) as provider:
        yield provider


async def test_thousands_of_recipients_are_sent_to_but_for_those_that_are_illegal(
    hms: HmsProvider, emulator: HmsEmulator
) -> None:
    emulator.apply_tokens(b'{"IQAAAACy0h-1200":{"state":"illegal"}}')
    results = await send(hms, batch(2500), MESSAGE)
    assert results.exceptions == {1200: DEAD}
    assert len({name for name in results.message_ids if name}) == 3


async def test_recipients_with_their_own_messages_get_their_own_requests(
    hms: HmsProvider, emulator: HmsEmulator
) -> None:
    of_all = batch(60)
    each = [hms.prepare(msgspec.Raw(b'{"message":{"data":"%d"}}' % n), of_all) for n in range(60)]
    watched = Watched(of_all)
    hms.submit(of_all, each[0], watched.results, each)
    assert not (await watched.end()).exceptions
    assert emulator.counters().by_kind == {"oauth": 1, "push": 60}


async def test_a_token_of_another_app_does_not_die_of_it(hms: HmsProvider, emulator: HmsEmulator) -> None:
    emulator.apply_registry(b'[{"token_prefix":"IQ","app_ids":["another"]}]')
    outcome = (await send(hms, batch(), DATA)).exceptions[0]
    assert (outcome.kind, outcome.reason, outcome.status) == (Kind.DEAD, "80300007", 400)


async def test_expired_access_tokens_are_renewed(hms: HmsProvider, emulator: HmsEmulator) -> None:
    await send(hms, batch(), DATA)
    emulator.expire_access_tokens()
    assert not (await send(hms, batch(1500), DATA)).exceptions
    assert emulator.counters().by_kind["oauth"] == 2


async def test_a_request_with_too_many_tokens_is_halved(hms: HmsProvider, emulator: HmsEmulator) -> None:
    emulator.set_faults([fault({"reason": "80300010"}, count=3)])
    assert not (await send(hms, batch(800), DATA)).exceptions
    assert emulator.counters().by_kind["push"] == 7
    assert emulator.counters().accepted_recipients == 800


async def test_flow_control_slows_the_credential_down(hms: HmsProvider, emulator: HmsEmulator) -> None:
    emulator.set_faults([fault({"status": 503})])
    outcome = (await send(hms, batch(), DATA)).exceptions[0]
    assert outcome.pause == Pause("throttle", seconds=10.0)
    assert not outcome.counts_as_attempt


async def test_a_lost_answer_is_unknown(hms: HmsProvider, emulator: HmsEmulator) -> None:
    emulator.set_faults([fault({"drop_after_body": True})])
    assert (await send(hms, batch(), DATA)).exceptions[0].kind is Kind.UNKNOWN


async def test_the_emulator_passes_a_check(hms: HmsProvider, emulator: HmsEmulator) -> None:
    assert [verdict[:2] for verdict in (await hms.check()).values()] == ["ok"] * 3
    assert emulator.counters().accepted == 0
