"""The emulators of `tocsin serve`: APNs and FCM on loopback, while there is no real credential."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from emulators.apns import ApnsEmulator
from emulators.fcm import FcmEmulator
from server.process import Announce, EmulatorOrders, run


class Emulated(msgspec.Struct, frozen=True):
    """What the emulators say when they are ready: control ports by provider, and credentials for `provider_put`."""

    control: dict[str, str]
    credentials: list[dict[str, Any]]

    def __repr__(self) -> str:
        return f"Emulated({self.control!r})"


async def work(orders: EmulatorOrders, stop: asyncio.Event, announce: Announce) -> None:
    """Stand in for the push services until `stop`; their keys are kept, so that a restart changes nothing."""
    directory = Path(orders.directory)
    apns_port, apns_control, fcm_port, fcm_control = orders.ports
    async with (
        ApnsEmulator(port=apns_port, control_port=apns_control, data_dir=directory) as apns,
        FcmEmulator(port=fcm_port, control_port=fcm_control, data_dir=directory) as fcm,
    ):
        announce(msgspec.json.encode(_emulated(apns, fcm)))
        await stop.wait()


def _emulated(apns: ApnsEmulator, fcm: FcmEmulator) -> Emulated:
    key = apns.signing_key()
    return Emulated(
        control={"apns": apns.control_url, "fcm": fcm.control_url},
        credentials=[
            {
                "provider_id": "emulator-apns",
                "provider": "apns",
                "key": key.p8_pem,
                "key_id": key.key_id,
                "team_id": key.team_id,
                "bundle_id": key.bundle_id,
                "endpoint": apns.url,
                "tls_ca": apns.authority.ca_pem,
            },
            {
                "provider_id": "emulator-fcm",
                "provider": "fcm",
                "service_account": fcm.service_account(),
                "endpoint": fcm.url,
                "tls_ca": fcm.authority.ca_pem,
            },
        ],
    )


if __name__ == "__main__":
    run(EmulatorOrders, work)
