"""Providers that send to emulators."""

from collections.abc import AsyncIterator

import pytest

from delivery.providers.apns import ApnsProvider
from delivery.providers.fcm import FcmProvider
from emulators.apns import ApnsEmulator
from emulators.fcm import FcmEmulator
from tests.delivery.providers.sending import apns_params, fcm_params, stored


@pytest.fixture
async def apns(apns_emulator: ApnsEmulator) -> AsyncIterator[ApnsProvider]:
    async with ApnsProvider(stored(apns_params(apns_emulator))) as provider:
        yield provider


@pytest.fixture
async def fcm(fcm_emulator: FcmEmulator) -> AsyncIterator[FcmProvider]:
    async with FcmProvider(stored(fcm_params(fcm_emulator))) as provider:
        yield provider
