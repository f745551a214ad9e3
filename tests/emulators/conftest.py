"""Emulators that run, with keys made once for the session: RSA takes a while."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from emulators.apns import ApnsEmulator
from emulators.fcm import FcmEmulator
from emulators.hms import HmsEmulator
from emulators.webpush import WebpushEmulator
from tests.emulators.wire import WireClient, connected


@pytest.fixture(scope="session")
def keys_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulator-keys")


@pytest.fixture
async def apns(keys_folder: Path) -> AsyncIterator[ApnsEmulator]:
    async with ApnsEmulator(data_dir=keys_folder) as emulator:
        yield emulator


@pytest.fixture
async def fcm(keys_folder: Path) -> AsyncIterator[FcmEmulator]:
    async with FcmEmulator(data_dir=keys_folder) as emulator:
        yield emulator


@pytest.fixture
async def webpush(keys_folder: Path) -> AsyncIterator[WebpushEmulator]:
    async with WebpushEmulator(data_dir=keys_folder) as emulator:
        yield emulator


@pytest.fixture
async def hms(keys_folder: Path) -> AsyncIterator[HmsEmulator]:
    async with HmsEmulator(data_dir=keys_folder) as emulator:
        yield emulator


@pytest.fixture
async def device(apns: ApnsEmulator) -> AsyncIterator[WireClient]:
    """A connection to the emulated APNs."""
    async with connected(apns) as client:
        yield client


@pytest.fixture
async def sender(fcm: FcmEmulator) -> AsyncIterator[WireClient]:
    """A connection to the emulated FCM."""
    async with connected(fcm) as client:
        yield client
