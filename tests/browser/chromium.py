"""A headless Chromium of its own profile, driven over the DevTools protocol.

Source: https://chromedevtools.github.io/devtools-protocol/.
"""

import asyncio
import base64
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

PROGRAM = "/usr/bin/chromium"
PATIENCE_SECONDS = 30.0
_SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # it has none for root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--window-size=900,1100",
)

Event = dict[str, Any]


class BrowserError(Exception):
    """The browser refused a command, or a page threw; the text is its own."""


class DevTools:
    """Commands to the browser and its events, over one connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self._answers: dict[int, asyncio.Future[Event]] = {}
        self._awaited: list[tuple[Callable[[Event], bool], asyncio.Future[Event]]] = []
        self.events: list[Event] = []

    async def listen(self) -> None:
        """Take what the browser says until the connection ends."""
        try:
            async for line in self._connection:
                self._take(json.loads(line))
        except ConnectionClosed:
            return

    def _take(self, said: Event) -> None:
        if "id" in said:
            answer = self._answers.pop(said["id"])
            if not answer.done():
                answer.set_result(said)
            return
        self.events.append(said)
        for wanted, future in self._awaited:
            if not future.done() and wanted(said):
                future.set_result(said)

    async def call(self, method: str, session: str = "", **params: object) -> dict[str, Any]:
        """Give a command, to a page's session or to the browser; its result. BrowserError when it is refused."""
        self._number += 1
        future = self._answers[self._number] = asyncio.get_running_loop().create_future()
        order = {"id": self._number, "method": method, "params": params}
        await self._connection.send(json.dumps(order | ({"sessionId": session} if session else {})))
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await future
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def event(self, wanted: Callable[[Event], bool]) -> Event:
        """Wait for an event; one that has been is found, too."""
        for said in self.events:
            if wanted(said):
                return said
        future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        entry = wanted, future
        self._awaited.append(entry)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await future
        finally:
            self._awaited.remove(entry)

    async def service_worker(self, url: str) -> "Page":
        """The service worker whose script is there, to evaluate expressions in."""
        targets = (await self.call("Target.getTargets"))["targetInfos"]
        found = next((each for each in targets if each["type"] == "service_worker" and each["url"] == url), None)
        if found is None:
            raise BrowserError(f"no service worker runs {url}")
        attached = await self.call("Target.attachToTarget", targetId=found["targetId"], flatten=True)
        return Page(self, attached["sessionId"])

    async def open_page(self, url: str) -> "Page":
        """Open a page in a tab of its own."""
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Log", "ServiceWorker"):
            await page.call(f"{domain}.enable")
        await page.call("Page.navigate", url=url)
        await self.event(lambda said: said["method"] == "Page.loadEventFired" and said.get("sessionId") == session)
        return page


class Page:
    """A page in a tab."""

    def __init__(self, tools: DevTools, session: str) -> None:
        self._tools = tools
        self._session = session

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        """Give the page a command."""
        return await self._tools.call(method, self._session, **params)

    async def value(self, expression: str) -> Any:
        """Evaluate an expression in the page, awaited when it is a promise."""
        done = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in done:
            raise BrowserError(json.dumps(done["exceptionDetails"]))
        return done["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Wait until an expression about the document is true, looking at each change of it; its value."""
        return await self.value(
            f"""new Promise((found) => {{
                const look = () => {{
                    const value = ({expression});
                    if (value) {{ watcher.disconnect(); found(value); }}
                }};
                const watcher = new MutationObserver(look);
                watcher.observe(document, {{subtree: true, childList: true, characterData: true, attributes: true}});
                look();
            }})"""
        )

    async def shows(self, selector: str, wanted: str) -> str:
        """Wait until the text of an element holds these words; the whole text."""
        element = f"document.querySelector({json.dumps(selector)})"
        held = f"{element}.innerText.includes({json.dumps(wanted)})"
        return str(await self.until(f"{element} && {held} && {element}.innerText"))

    async def text(self, selector: str) -> str:
        """The text of the element."""
        return str(await self.value(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def click(self, selector: str) -> None:
        """Click an element where it is, as a person would."""
        element = f"document.querySelector({json.dumps(selector)})"
        await self.value(f"{element}.scrollIntoView()")
        box = await self.value(f"{element}.getBoundingClientRect().toJSON()")
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def screenshot(self, path: Path) -> None:
        """Write a picture of the whole page."""
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))


@asynccontextmanager
async def chromium(switches: Sequence[str] = ()) -> AsyncIterator[DevTools]:
    """Start Chromium with an empty profile; it is ended with the context."""
    with TemporaryDirectory(prefix="tocsin-browser-", ignore_cleanup_errors=True) as profile:
        words = [PROGRAM, *_SWITCHES, f"--user-data-dir={profile}", *switches, "about:blank"]
        process = await asyncio.create_subprocess_exec(*words, stderr=PIPE)
        try:
            async with asyncio.TaskGroup() as group:
                url, reading = await _address(process, group)
                async with connect(url, max_size=None, ping_interval=None) as connection:
                    tools = DevTools(connection)
                    listening = group.create_task(tools.listen())
                    yield tools
                    listening.cancel()
                process.terminate()
                await reading
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _address(process: asyncio.subprocess.Process, group: asyncio.TaskGroup) -> tuple[str, "asyncio.Task[None]"]:
    """The address that Chromium says on standard error, whose rest is read and thrown away."""
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        while line := await process.stderr.readline():
            if b"DevTools listening on " in line:
                return line.decode().split()[-1], group.create_task(_drain(process.stderr))
    raise BrowserError(f"{PROGRAM} ended before it could be driven")


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.readline():
        continue
