"""Web Push subscriptions of a run: made by the emulated services, in the places that the script has for them."""

from collections.abc import Iterator, Sequence

import httpx
import msgspec

from tests.chaos.script import Script
from tests.chaos.side import Side

WEBPUSH = ("webpush", "webpush-chrome")
_PATIENCE_SECONDS = 60.0


async def subscribe(script: Script, side: Side) -> dict[str, str]:
    """Replace the names of subscriptions in the script by their endpoints; what a browser would say, by endpoint."""
    names = list(dict.fromkeys(_names(script)))
    found: dict[str, str] = {}
    places: dict[str, str] = {}
    async with httpx.AsyncClient(timeout=_PATIENCE_SECONDS, trust_env=False) as control:
        for number, service in enumerate(WEBPUSH):
            mine = names[number :: len(WEBPUSH)]
            order = {"count": max(1, len(mine)), "vapid_public_key": side.vapid_key}
            answer = await control.post(f"{side.control[service]}/subscriptions", content=msgspec.json.encode(order))
            answer.raise_for_status()
            for name, each in zip(mine, answer.json(), strict=False):
                endpoint = places[name] = each["subscription"]["endpoint"]
                found[endpoint] = msgspec.json.encode(each["subscription"]).decode()
    _put(script, places)
    return found


def service_of(endpoint: str, origins: str) -> str:
    """At which of the services a subscription is."""
    return next(name for name, origin in zip(WEBPUSH, origins.split(), strict=True) if f"//{origin}/" in endpoint)


def _names(script: Script) -> Iterator[str]:
    for device in script.devices.values():
        yield from device.tokens if device.provider == "webpush" else ()
    for push in script.pushes:
        yield from push.recipients if push.provider == "webpush" else ()


def _put(script: Script, places: dict[str, str]) -> None:
    def placed(tokens: Sequence[str]) -> list[str]:
        return [places.get(each, each) for each in tokens]

    for device in script.devices.values():
        device.tokens = placed(device.tokens)
    for push in script.pushes:
        push.recipients = placed(push.recipients)
    for change in {id(each): each for each in (*script.first, *script.changes)}.values():
        change.token = places.get(change.token, change.token)
