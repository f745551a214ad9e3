"""Emulators that run, with keys made once for the session: RSA takes a while."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from emulators.apns import ApnsEmulator
from emulators.fcm import FcmEmulator


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
