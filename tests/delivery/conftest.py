"""Emulators that run, with keys made once for the session: RSA takes a while."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from delivery.providers.credentials import parse_credential
from emulators.apns import ApnsEmulator
from emulators.fcm import FcmEmulator
from storage import credentials
from storage.database import Database
from storage.vault import Vault
from tests.delivery.providers.sending import apns_params, fcm_params
from tests.delivery.world import MakeContext, World


@pytest.fixture(scope="session")
def emulator_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("provider-emulators")


@pytest.fixture
async def apns_emulator(emulator_folder: Path) -> AsyncIterator[ApnsEmulator]:
    async with ApnsEmulator(data_dir=emulator_folder) as emulator:
        yield emulator


@pytest.fixture
async def fcm_emulator(emulator_folder: Path) -> AsyncIterator[FcmEmulator]:
    async with FcmEmulator(data_dir=emulator_folder) as emulator:
        yield emulator


@pytest.fixture
async def world(
    database: Database,
    vault: Vault,
    context: MakeContext,
    apns_emulator: ApnsEmulator,
    fcm_emulator: FcmEmulator,
) -> World:
    """A database with default credentials for both emulators, and the methods to push with."""
    for params in (apns_params(apns_emulator), fcm_params(fcm_emulator)):
        await credentials.put(database, vault, parse_credential(params))
    return World(database, vault, context)
