"""Emulators that run, and providers that send to them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from delivery.providers.apns import ApnsProvider
from delivery.providers.fcm import FcmProvider
from emulators.apns import ApnsEmulator
from emulators.fcm import FcmEmulator
from tests.delivery.providers.sending import apns_params, fcm_params, stored


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
async def apns(apns_emulator: ApnsEmulator) -> AsyncIterator[ApnsProvider]:
    async with ApnsProvider(stored(apns_params(apns_emulator))) as provider:
        yield provider


@pytest.fixture
async def fcm(fcm_emulator: FcmEmulator) -> AsyncIterator[FcmProvider]:
    async with FcmProvider(stored(fcm_params(fcm_emulator))) as provider:
        yield provider
