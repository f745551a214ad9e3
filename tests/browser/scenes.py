"""What is played in the browser, scene by scene; each raises when the browser does not do what it should."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from delivery.providers.webpush_vapid import generate_pair
from server.data_directory import DataDirectory
from tests.browser.chromium import BrowserError, DevTools, Page, chromium
from tests.browser.push_service import PushService, refusal
from tests.server.running import environment, running

_UNREACHABLE = (
    "--gcm-checkin-url=https://localhost:1/checkin",
    "--gcm-registration-url=https://localhost:1/register3",
    "--gcm-mcs-endpoint=https://localhost:1",
)
_NEUTRAL = {
    "web_push": 8030,
    "notification": {"title": "Ein Gruß", "body": "aus dem Werkzeug ✓", "navigate": "https://example.com/"},
}
_LARGEST = 3993
_LARGEST_BODY = 4096
"""The most bytes of a body (RFC 8030, section 7.2), and of the message in it (RFC 8291, section 4)."""

_PATIENCE_SECONDS = 30.0
_SUBSCRIPTION = "navigator.serviceWorker.ready.then((r) => r.pushManager.getSubscription())"
_TITLES = (
    "navigator.serviceWorker.ready.then((r) => r.getNotifications()).then((all) => all.map((n) => n.title).sort())"
)


class Site:
    """A `tocsin serve --demo` and the API behind it."""

    def __init__(self, url: str, key: str) -> None:
        self.url = f"{url}/demo/".replace("127.0.0.1", "localhost")
        self.origin = self.url.removesuffix("/demo/")
        self._client = httpx.AsyncClient(base_url=url, headers={"X-API-Key": key}, timeout=30.0)

    async def call(self, method: str, **params: object) -> Any:
        """Call the API with the key of the operator; its result."""
        answer = (await self._client.post(f"/api/{method}", json=params)).json()
        assert "result" in answer, f"{method}: {answer}"
        return answer["result"]

    async def close(self) -> None:
        """Close the connection to the API."""
        await self._client.aclose()


@asynccontextmanager
async def site(folder: Path, **settings: str) -> AsyncIterator[Site]:
    """Start the server over an empty data directory."""
    async with running("serve --demo", environment(folder / "data", **settings)) as server:
        await server.ready()
        found = Site(server.url, DataDirectory(folder / "data").api_key())
        try:
            yield found
        finally:
            await found.close()


@asynccontextmanager
async def visited(
    there: Site, switches: Sequence[str], *, permission: str = "granted"
) -> AsyncIterator[tuple[DevTools, Page]]:
    """Open the page in a browser that says this when it is asked for notifications."""
    async with chromium(switches) as tools:
        for name in ("notifications", "push"):
            described = {"name": name, "userVisibleOnly": True} if name == "push" else {"name": name}
            await tools.call("Browser.setPermission", permission=described, setting=permission, origin=there.origin)
        page = await tools.open_page(there.url)
        try:
            yield tools, page
        except (AssertionError, TimeoutError, BrowserError) as error:
            error.add_note(f"the page says: {await page.text('main')}")
            raise


async def blocked(there: Site) -> None:
    """Blocked notifications are shown as text that says what to do."""
    async with visited(there, _UNREACHABLE, permission="denied") as (_, page):
        await page.shows("#status", "Ready")
        await page.click("#subscribe")
        await page.shows("#problem", "Allow them in the browser's settings")


async def without_a_push_service(there: Site, picture: Path | None) -> None:
    """A push service that cannot be reached is shown as text; what the tools deliver arrives in the page."""
    async with visited(there, _UNREACHABLE) as (tools, page):
        await page.shows("#status", "Ready")
        assert await page.text("#support") == "yes"
        await page.click("#subscribe")
        await page.shows("#problem", "push service")
        await _deliver(tools, page, there, json.dumps(_NEUTRAL))
        await _arrived(page, "“Ein Gruß”, “aus dem Werkzeug ✓”")
        await _deliver(tools, page, there, "no JSON")
        await _arrived(page, "“A push”, “no JSON”")
        assert await page.value(_TITLES) == ["A push", "Ein Gruß"]
        if picture:
            await page.screenshot(picture)


async def _deliver(tools: DevTools, page: Page, there: Site, data: str) -> None:
    def registered(said: dict[str, Any]) -> bool:
        return said["method"] == "ServiceWorker.workerRegistrationUpdated" and bool(said["params"]["registrations"])

    registration = (await tools.event(registered))["params"]["registrations"][0]["registrationId"]
    await page.call("ServiceWorker.deliverPushMessage", origin=there.origin, registrationId=registration, data=data)


async def _arrived(page: Page, words: str) -> None:
    """Wait until the page shows a push with these words."""
    every = "[...document.querySelectorAll('.arrival')]"
    await page.until(f"{every}.some((each) => each.innerText.includes({json.dumps(words)}))")


async def with_a_push_service(folder: Path, picture: Path | None) -> list[str]:
    """Chromium subscribes at our push service, and decrypts what Tocsin sends; lines about what was seen."""
    async with PushService() as service:
        settings = {
            "credentials_file": str(_credentials(folder, service)),
            "private_hosts_allowed": service.url.removeprefix("https://"),
        }
        async with site(folder, **settings) as there, visited(there, service.switches()) as (tools, page):
            await page.shows("#status", "Ready")
            await page.click("#subscribe")
            await page.shows("#status", "registered with Tocsin")
            device, endpoints = await page.text("#device"), await page.text("#service")
            await _send_from_the_page(page)
            if picture:
                await page.screenshot(picture)
            await _send_by_the_api(there, page, device)
            await _changed_on_the_way(there, page, service, device)
            await _tapped(tools, there, page, device)
            await _gone_and_again(tools, there, page, service, device)
            await page.click("#unsubscribe")
            await page.shows("#status", "removed from Tocsin")
            assert (await there.call("device_list", filter={"ids": [device]})).get("items", []) == []
        return _seen(service, endpoints)


def _seen(service: PushService, endpoints: str) -> list[str]:
    refused = [push.refused for push in service.pushes if push.refused]
    sizes = [push.size for push in service.pushes if not push.refused]
    assert refused == ["no such subscription"], refused
    _check_the_judge(service)
    assert max(sizes) == _LARGEST_BODY, sizes
    return [
        f"subscribed for real: endpoints at {endpoints}",
        f"{len(sizes) - 1} pushes decrypted by Chromium, bodies of {min(sizes)} to {max(sizes)} bytes",
        "a push with one bit changed on the way was not shown",
        "each had a VAPID header that py_vapid takes, of the key that the page subscribed with",
        "receipts came back: delivered, and tapped (by calling what the worker does then)",
        "a dropped subscription was found gone, the next one registered; unsubscribing removed the device",
    ]


def _check_the_judge(service: PushService) -> None:
    """What was accepted would have been refused with another key or another signature."""
    push = next(push for push in service.pushes if not push.refused)
    scheme, token, key = re.split(r"(?<=vapid )|,\s*", push.headers["authorization"])
    assert refusal(push.headers, push.sender) == ""
    assert refusal(push.headers, push.sender[::-1]) == "the key is not the one that the page subscribed with"
    head, claims, signature = token.removeprefix("t=").split(".")
    other = f"{scheme}t={head}.{claims}.{signature[::-1]},{key}"
    assert refusal(push.headers | {"authorization": other}, push.sender) == "the signature is not of this key"


def _credentials(folder: Path, service: PushService) -> Path:
    """A file that declares a credential for Web Push whose requests go to our push service."""
    _, private_key = generate_pair()
    declared = {
        "provider_id": "browser",
        "provider": "webpush",
        "private_key": private_key,
        "subject": "mailto:tests@example.com",
        "endpoint": service.url,
        "tls_ca": service.authority.ca_pem,
    }
    path = folder / "credentials.json"
    path.write_text(json.dumps([declared]))
    return path


async def _send_from_the_page(page: Page) -> None:
    await page.value("document.querySelector('#body').value = 'Grüße, 你好, 🔔'")
    await page.click("#push")
    await _arrived(page, "“Good morning”, “Grüße, 你好, 🔔”")
    await page.shows(".told", "1 accepted")
    await page.shows(".told", "1 reported as delivered")


async def _send(there: Site, device: str, **notification: object) -> str:
    """Send to the browser by the API; the uid."""
    recipient = {"filter": {"ids": [device]}}
    uid = (await there.call("send_push_notification", recipient=recipient, notification=notification))["uid"]
    return str(uid)


async def _send_by_the_api(there: Site, page: Page, device: str) -> None:
    """Payloads of the caller's own: as large as a message may be, and one without text."""
    empty = len(json.dumps({"notification": {"title": "Large", "body": ""}}, separators=(",", ":")))
    large = {"notification": {"title": "Large", "body": "x" * (_LARGEST - empty)}}
    await _send(there, device, webpush={"payload": large})
    await _arrived(page, f"“Large”, “{'x' * (_LARGEST - empty)}”")
    await _send(there, device, data={"kind": "quiet"}, background=True)
    await _arrived(page, "“A push without a title”")


async def _changed_on_the_way(there: Site, page: Page, service: PushService, device: str) -> None:
    """The browser is a judge: it does not take what is not as we encrypted it."""
    service.spoils = True
    uid = await _send(there, device, title="Spoiled")
    await _settled(there, uid, "accepted")
    service.spoils = False
    await _send(there, device, title="Sound")
    await _arrived(page, "“Sound”")
    assert "Spoiled" not in await page.text("#pushes")


async def _settled(there: Site, uid: str, outcome: str) -> None:
    """Wait until a push to one device is done, with this outcome."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while (status := await there.call("push_status", uid=uid))["state"] != "done":
            continue
    assert status["ledger"].get(outcome) == 1, status


async def _tapped(tools: DevTools, there: Site, page: Page, device: str) -> None:
    """What the worker does when a notification is tapped, which nobody can do here."""
    worker = await tools.service_worker(f"{there.url}sw.js")
    uid = await page.value(f"document.querySelector('li[data-uid^=demo-{device}]').dataset.uid")
    assert await worker.value(f"report({json.dumps(uid)}, 'interacted')") == ""
    assert (await there.call("push_status", uid=uid))["interacted"] == 1


async def _gone_and_again(tools: DevTools, there: Site, page: Page, service: PushService, device: str) -> None:
    """A browser that drops its subscription is found gone; the one that it takes instead is registered and works."""
    dropped = await page.value(f"{_SUBSCRIPTION}.then((found) => found.unsubscribe().then(() => found.endpoint))")
    await service.unsubscribed(urlsplit(dropped).path.rpartition("/")[2])
    await _settled(there, await _send(there, device, title="Anybody there?"), "failed")
    worker = await tools.service_worker(f"{there.url}sw.js")
    await worker.value("again(undefined)")
    await page.shows("#status", "the new one is registered")
    await _send(there, device, title="Again")
    await _arrived(page, "“Again”")
