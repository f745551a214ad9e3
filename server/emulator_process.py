"""The emulators of `tocsin serve`: every push service on loopback, while there is no real credential."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from emulators.apns import ApnsEmulator
from emulators.emulator import Emulator, Place
from emulators.fcm import FcmEmulator
from emulators.hms import HmsEmulator
from emulators.webpush import WebpushEmulator
from server.process import Announce, EmulatorOrders, run


class Emulated(msgspec.Struct, frozen=True):
    """What the emulators say when they are ready: control ports by provider, and credentials for `provider_put`.

    `webpush_host` is the `host:port` of all subscriptions that the emulated push service makes.
    """

    control: dict[str, str]
    credentials: list[dict[str, Any]]
    webpush_host: str

    def __repr__(self) -> str:
        return f"Emulated({self.control!r})"


async def work(orders: EmulatorOrders, stop: asyncio.Event, announce: Announce) -> None:
    """Stand in for the push services until `stop`; their keys are kept, so that a restart changes nothing."""
    ports = zip(orders.ports[::2], orders.ports[1::2], strict=True)
    apns_place, fcm_place, webpush_place, hms_place = (
        Place(port=port, control_port=control, data_dir=Path(orders.directory)) for port, control in ports
    )
    async with (
        ApnsEmulator(**apns_place) as apns,
        FcmEmulator(**fcm_place) as fcm,
        WebpushEmulator(**webpush_place) as webpush,
        HmsEmulator(**hms_place) as hms,
    ):
        control = {"apns": apns, "fcm": fcm, "webpush": webpush, "hms": hms}
        said = Emulated(
            control={provider: emulator.control_url for provider, emulator in control.items()},
            credentials=[_apns(apns), _fcm(fcm), _webpush(webpush), _hms(hms)],
            webpush_host=webpush.url.removeprefix("https://"),
        )
        announce(msgspec.json.encode(said))
        await stop.wait()


def _apns(apns: ApnsEmulator) -> dict[str, Any]:
    key = apns.signing_key()
    own = {"key": key.p8_pem, "key_id": key.key_id, "team_id": key.team_id, "bundle_id": key.bundle_id}
    return {"provider_id": "emulator-apns", "provider": "apns", "endpoint": apns.url, **own, **_trust(apns)}


def _fcm(fcm: FcmEmulator) -> dict[str, Any]:
    own = {"service_account": fcm.service_account()}
    return {"provider_id": "emulator-fcm", "provider": "fcm", "endpoint": fcm.url, **own, **_trust(fcm)}


def _webpush(webpush: WebpushEmulator) -> dict[str, Any]:
    """Without an endpoint: the subscriptions say where they are, and those of a browser are not the emulator's."""
    pair = webpush.vapid_pair()
    own = {"private_key": pair.private_key, "public_key": pair.public_key, "subject": pair.subject}
    return {"provider_id": "emulator-webpush", "provider": "webpush", **own, **_trust(webpush)}


def _hms(hms: HmsEmulator) -> dict[str, Any]:
    own = {"app_id": hms.app_id, "app_secret": hms.app_secret(), "token_url": hms.token_url}
    return {"provider_id": "emulator-hms", "provider": "hms", "endpoint": hms.url, **own, **_trust(hms)}


def _trust(emulator: Emulator) -> dict[str, str]:
    return {"tls_ca": emulator.authority.ca_pem}


if __name__ == "__main__":
    run(EmulatorOrders, work)
