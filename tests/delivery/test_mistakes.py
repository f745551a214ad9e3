"""Operators' classic mistakes: each stops by itself, costs no device, says why, and loses nothing once it is mended."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from delivery.providers.credentials import parse_credential
from emulators.apns import BUNDLE_ID, ApnsEmulator
from emulators.fcm import PROJECT_ID, FcmEmulator
from emulators.fcm_accounts import account_of, new_private_pem
from emulators.provider_tokens import ProviderKey
from storage import credentials
from storage.database import Database
from storage.vault import Vault
from tests.delivery.incident import Incident
from tests.delivery.providers.sending import apns_params, fcm_params
from tests.delivery.world import APNS, FCM, OPTIONS, MakeContext, World, ledger

TWO_HOURS = 7200.0
OTHER_BUNDLE = "com.example.other"
OTHER_PROJECT = "another-project"
NEW_KEY = "NEWKEY0001"


@pytest.fixture
def world(database: Database, vault: Vault, context: MakeContext) -> World:
    return World(database, vault, context)


@pytest.fixture
async def apns(apns_emulator: ApnsEmulator) -> ApnsEmulator:
    """A production APNs whose tokens were all given out there, to one app."""
    apns_emulator.set_registry([{"token_prefix": "", "environment": "production", "topics": [BUNDLE_ID]}])
    return apns_emulator


@pytest.fixture
async def fcm(emulator_folder: Path) -> AsyncIterator[FcmEmulator]:
    """An FCM with two projects; all registrations are of the first."""
    async with FcmEmulator(data_dir=emulator_folder, projects=(PROJECT_ID, OTHER_PROJECT)) as emulator:
        emulator.set_registry([{"token_prefix": "", "projects": [PROJECT_ID]}])
        yield emulator


@pytest.fixture(scope="session")
def another_rsa_key() -> str:
    """A key that no service account has any more: RSA takes a while."""
    return new_private_pem().decode()


def another_key() -> tuple[str, str]:
    """A new signing key: the private and the public PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


async def test_the_bundle_id_of_another_app_of_the_team(world: World, apns: ApnsEmulator) -> None:
    incident = Incident(world, "apns", apns)
    await incident.put(apns_params(apns, bundle_id=OTHER_BUNDLE))
    async with world.worker():
        await incident.stops("DeviceTokenNotForTopic")
        await incident.put(apns_params(apns))
        await incident.ends_well()


async def test_a_bundle_id_that_the_key_may_not_use(world: World, emulator_folder: Path) -> None:
    async with ApnsEmulator(data_dir=emulator_folder, topics=[BUNDLE_ID]) as apns:
        incident = Incident(world, "apns", apns)
        await incident.put(apns_params(apns, bundle_id=OTHER_BUNDLE))
        async with world.worker():
            await incident.stops("TopicDisallowed")
            await incident.still_stops_after_a_probe("TopicDisallowed")
            await incident.put(apns_params(apns))
            await incident.ends_well()


async def test_a_topic_that_the_key_may_not_use_stops_alone(world: World, apns: ApnsEmulator) -> None:
    apns.set_registry([])
    refused = {"match": {"token_prefix": ""}, "action": {"reason": "TopicDisallowed"}}
    apns.set_faults([{"match": {"token_prefix": "fade"}, "action": {"status": 200}}, refused])
    incident = Incident(world, "apns", apns, topic=OTHER_BUNDLE)
    await incident.put(apns_params(apns))
    async with world.worker():
        await incident.stops("TopicDisallowed", scope=OTHER_BUNDLE)
        uid = await world.send(recipient={"apns_tokens": ["fade01"]}, notification={"apns": APNS})
        assert ledger(await world.reached(uid, "done")) == {"planned": 1, "accepted": 1}
        apns.set_faults([])
        await incident.probe()
        await incident.ends_well()


async def test_tokens_of_the_sandbox_in_production(world: World, apns: ApnsEmulator, emulator_folder: Path) -> None:
    async with ApnsEmulator(data_dir=emulator_folder, environment="sandbox") as sandbox:
        for service in (apns, sandbox):
            service.set_registry([{"token_prefix": "", "environment": "sandbox", "topics": [BUNDLE_ID]}])
        incident = Incident(world, "apns", apns, sandbox)
        await incident.put(apns_params(apns))
        async with world.worker():
            await incident.stops("BadDeviceToken")
            await incident.put(apns_params(sandbox, environment="sandbox"))
            await incident.ends_well()


async def test_tokens_of_production_in_the_sandbox(world: World, apns: ApnsEmulator, emulator_folder: Path) -> None:
    async with ApnsEmulator(data_dir=emulator_folder, environment="sandbox") as sandbox:
        sandbox.set_registry([{"token_prefix": "", "environment": "production"}])
        incident = Incident(world, "apns", apns, sandbox)
        await incident.put(apns_params(sandbox, environment="sandbox"))
        async with world.worker():
            await incident.stops("BadDeviceToken")
            await incident.put(apns_params(apns))
            await incident.ends_well()


async def test_after_a_correction_nothing_goes_out_with_the_credential_as_it_was(
    world: World, apns: ApnsEmulator
) -> None:
    """Whoever has not heard of the change yet must not go on with the mistake, now that the pause is lifted."""
    incident = Incident(world, "apns", apns)
    await incident.put(apns_params(apns, bundle_id=OTHER_BUNDLE))
    async with world.worker(msgspec.structs.replace(OPTIONS, refresh_seconds=1.5)):
        await incident.stops("DeviceTokenNotForTopic")
        refused = apns.counters().by_reason
        mended = apns_params(apns, provider_id="mine", max_connections=1)
        await credentials.put(world.database, world.vault, parse_credential(mended))  # and nobody says so
        await incident.ends_well()
        assert apns.counters().by_reason == refused


async def test_a_key_that_serves_the_sandbox_only(world: World, apns: ApnsEmulator) -> None:
    private, public = another_key()
    team_id = apns.signing_key().team_id
    apns.register_key(ProviderKey(key_id=NEW_KEY, team_id=team_id, public_pem=public, environment="sandbox"))
    incident = Incident(world, "apns", apns)
    await incident.put(apns_params(apns, key=private, key_id=NEW_KEY))
    async with world.worker():
        await incident.stops("BadEnvironmentKeyIdInToken")
        await incident.put(apns_params(apns))
        await incident.ends_well()


async def test_a_revoked_apns_key(world: World, emulator_folder: Path) -> None:
    async with ApnsEmulator(data_dir=emulator_folder, require_known_keys=True) as apns:
        incident = Incident(world, "apns", apns)
        await incident.put(apns_params(apns, key=another_key()[0], key_id=NEW_KEY))
        async with world.worker():
            await incident.stops("InvalidProviderToken")
            await incident.put(apns_params(apns))
            await incident.ends_well()


async def test_the_wrong_team_id(world: World, apns: ApnsEmulator) -> None:
    incident = Incident(world, "apns", apns)
    await incident.put(apns_params(apns, team_id="OTHERTEAM1"))
    async with world.worker():
        await incident.stops("InvalidProviderToken")
        await incident.put(apns_params(apns))
        await incident.ends_well()


@pytest.mark.parametrize(
    ("offset", "reason"), [(TWO_HOURS, "ExpiredProviderToken"), (-TWO_HOURS, "InvalidProviderToken")]
)
async def test_a_clock_two_hours_off_before_apns(world: World, apns: ApnsEmulator, offset: float, reason: str) -> None:
    apns.clock_offset = offset
    incident = Incident(world, "apns", apns)
    await incident.put(apns_params(apns))
    async with world.worker():
        await incident.stops(reason)
        await incident.still_stops_after_a_probe(reason)
        apns.clock_offset = 0.0
        await incident.probe()
        await incident.ends_well()


async def test_the_account_of_another_project(world: World, fcm: FcmEmulator) -> None:
    incident = Incident(world, "fcm", fcm)
    await incident.put(fcm_params(fcm, service_account=fcm.service_account(OTHER_PROJECT)))
    async with world.worker():
        await incident.stops("SENDER_ID_MISMATCH")
        await incident.put(fcm_params(fcm))
        await incident.ends_well()


async def test_a_project_that_does_not_exist(world: World, fcm: FcmEmulator) -> None:
    incident = Incident(world, "fcm", fcm)
    await incident.put(fcm_params(fcm, service_account=fcm.service_account() | {"project_id": "tocsin-emulatro"}))
    async with world.worker():
        await incident.stops("NOT_FOUND")
        await incident.put(fcm_params(fcm))
        await incident.ends_well()


async def test_an_account_without_the_role(world: World, fcm: FcmEmulator) -> None:
    """The right project, the account of another one; then the role is given to it, and no credential changes."""
    account = fcm.service_account(OTHER_PROJECT) | {"project_id": PROJECT_ID}
    incident = Incident(world, "fcm", fcm)
    await incident.put(fcm_params(fcm, service_account=account))
    async with world.worker():
        await incident.stops("PERMISSION_DENIED")
        await incident.still_stops_after_a_probe("PERMISSION_DENIED")
        known = account_of(OTHER_PROJECT, account["private_key"])
        fcm.register_account(msgspec.structs.replace(known, project_id=PROJECT_ID))
        fcm.revoke_access_tokens()
        await incident.probe()
        await incident.ends_well()


async def test_a_revoked_key_of_a_service_account(world: World, fcm: FcmEmulator, another_rsa_key: str) -> None:
    incident = Incident(world, "fcm", fcm)
    await incident.put(fcm_params(fcm, service_account=fcm.service_account() | {"private_key": another_rsa_key}))
    async with world.worker():
        await incident.stops("invalid_grant", most_requests=0)
        assert fcm.counters().by_kind["oauth"] <= 5
        await incident.still_stops_after_a_probe("invalid_grant")
        await incident.put(fcm_params(fcm))
        await incident.ends_well()


@pytest.mark.parametrize("offset", [TWO_HOURS, -TWO_HOURS])
async def test_a_clock_two_hours_off_before_google(world: World, fcm: FcmEmulator, offset: float) -> None:
    fcm.clock_offset = offset
    incident = Incident(world, "fcm", fcm)
    await incident.put(fcm_params(fcm))
    async with world.worker():
        await incident.stops("invalid_grant", most_requests=0)
        await incident.still_stops_after_a_probe("invalid_grant")
        fcm.clock_offset = 0.0
        await incident.probe()
        await incident.ends_well()


async def test_a_clock_that_jumps_while_an_access_token_is_in_use(world: World, fcm: FcmEmulator) -> None:
    incident = Incident(world, "fcm", fcm)
    await incident.put(fcm_params(fcm))
    async with world.worker():
        uid = await world.send(recipient={"fcm_tokens": ["first"]}, notification={"fcm": FCM})
        await world.reached(uid, "done")
        fcm.clock_offset = TWO_HOURS
        await incident.stops("invalid_grant")
        fcm.clock_offset = 0.0
        await incident.probe()
        await incident.ends_well()


async def test_a_refusal_that_comes_after_the_correction_costs_no_device(world: World, fcm: FcmEmulator) -> None:
    """What was in flight when the credential was corrected is refused for the mistake, and says nothing of tokens."""
    fcm.set_faults([{"action": {"delay_ms": 700}}])
    incident = Incident(world, "fcm", fcm)
    await incident.put(fcm_params(fcm, service_account=fcm.service_account(OTHER_PROJECT)))
    async with world.worker():
        await incident.begins()
        await incident.put(fcm_params(fcm))
        fcm.set_faults([])
        await incident.ends_well()
