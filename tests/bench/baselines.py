"""What our figures are compared with: h2load, aioapns, httpx and pywebpush against the same sink; encryption alone.

Run as a program it is one of the Python clients in a process of its own (the benchmarks start it so).
"""

import argparse
import asyncio
import json
import resource
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import aiohttp
import httpx
import msgspec
import uvloop
from aioapns import APNs, NotificationRequest
from aioapns.connection import APNsTLSClientProtocol
from py_vapid import Vapid
from pywebpush import webpush_async

from delivery.providers.webpush_encryption import decode_keys, encrypt
from tests.bench.nginx import BUNDLE_ID, HMS_PATH, signing_key
from tests.bench.payloads import APNS_BODY, FCM_MESSAGE, HMS_MESSAGE, TTL_SECONDS, WEBPUSH_PAYLOAD
from tests.bench.processes import metered
from tests.bench.seeding import KEYS, PATH, Seed
from tests.bench.sinks import Sink, program

FCM_PATH = "/v1/projects/tocsin-emulator/messages:send"
LIBRARIES: Mapping[str, Sequence[str]] = {
    "apns": ("aioapns",),
    "fcm": ("httpx",),
    "webpush": ("pywebpush", "encryption"),
    "hms": ("httpx-hms",),
}
"""The Python clients of each provider; `encryption` sends nothing, `httpx-hms` sends the bodies that we make."""
_URIS = 1000


class Baseline(msgspec.Struct):
    """What another client did. `cpu_seconds` is its own, `sink_cpu` that of the sink meanwhile."""

    name: str
    count: int
    seconds: float
    cpu_seconds: float
    sink_cpu: float
    good: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.count / self.seconds

    @property
    def cpu(self) -> float:
        """Milliseconds of CPU for 1,000 requests."""
        return self.cpu_seconds / self.count * 1e6

    def cells(self) -> list[str]:
        """Columns as those of a broadcast."""
        sink = self.sink_cpu / self.count * 1e6
        return [f"{self.count:,}", f"{self.seconds:.1f}", f"{self.rate:,.0f}", f"{self.cpu:.1f}", "", f"{sink:.1f}", ""]

    def faults(self) -> list[str]:
        """What it got no good answer to."""
        return [] if self.good == self.count else [f"{self.name}: {self.count - self.good} answers were not good"]


def fcm_body(number: int) -> bytes:
    """A request body as the server makes it for this device."""
    token = Seed(1 << 31, "fcm").token(number).encode()
    return b'{"message":{"token":"' + token + b'",' + FCM_MESSAGE[1:] + b"}"


def hms_body(recipients: int) -> bytes:
    """A request body for so many devices, as the server makes it."""
    seed = Seed(recipients, "hms")
    tokens = ",".join(f'"{seed.token(number)}"' for number in range(recipients))
    return b'{"message":{' + HMS_MESSAGE[1:-1] + b',"token":[' + tokens.encode() + b"]}}"


def webpush_body() -> bytes:
    """An encrypted message."""
    return encrypt(WEBPUSH_PAYLOAD, *decode_keys(KEYS["p256dh"].encode(), KEYS["auth"].encode()))


async def h2load(sink: Sink, folder: Path, shape: str, count: int, connections: int, streams: int) -> Baseline:
    """h2load with the same connections, streams, fields and size of body; dead tokens are left out."""
    paths, fields, body = _requests(shape)
    (folder / "uris").write_text("".join(f"{sink.url}{path}\n" for path in paths))
    (folder / "data").write_bytes(body)
    command = [program("h2load"), "-n", str(count), "-c", str(connections), "-m", str(streams), "-t", "1"]
    command += ["-i", str(folder / "uris"), "-d", str(folder / "data")]
    for field in fields:
        command += ["-H", field]
    async with metered({"sink": sink.pids}) as meter:
        cpu, out = await asyncio.to_thread(_run, command)
    rate = float(out.split("finished in ")[1].split(", ")[1].split(" ")[0])
    good = int(out.split("status codes: ")[1].split(" ")[0])
    if sink.faults:  # one request in a hundred is refused on purpose
        good += int(out.split("4xx, ")[1].split(" ")[0])
    return Baseline(f"h2load, {shape}", count, count / rate, cpu, meter.usage()["sink"].cpu_seconds, good)


def _requests(shape: str) -> tuple[list[str], list[str], bytes]:
    """Paths, header fields and a body for h2load."""
    numbers = [number for number in range(_URIS * 2) if number % 200 not in (7, 8)][:_URIS]
    fields = ["authorization: bearer " + "x" * 200]
    seed = Seed(_URIS * 2, shape)
    if shape == "apns":
        fields += [f"apns-topic: {BUNDLE_ID}", "apns-push-type: alert", f"apns-id: {uuid4()}"]
        return [f"/3/device/{seed.token(number)}" for number in numbers], fields, APNS_BODY
    if shape == "webpush":
        fields = ["authorization: vapid " + "x" * 300, f"ttl: {TTL_SECONDS}", "content-encoding: aes128gcm"]
        return [PATH + seed.token(number) for number in numbers], fields, webpush_body()
    return [FCM_PATH], [*fields, "content-type: application/json"], fcm_body(9)


async def library(sink: Sink, name: str, count: int, recipients: int = 1) -> Baseline:
    """One of LIBRARIES in a process of its own; `count` may be small, its rate does not grow.

    `recipients` is how many each request of HMS has.
    """
    command = [sys.executable, "-m", "tests.bench.baselines", name, sink.url, str(sink.ca_file), str(count)]
    command += ["--recipients", str(recipients)]
    async with metered({"sink": sink.pids}) as meter:
        _, out = await asyncio.to_thread(_run, command)
    said = json.loads(out)
    sink_cpu = meter.usage()["sink"].cpu_seconds
    return Baseline(name, count, said["seconds"], said["cpu"], sink_cpu, said["good"])


def _run(command: list[str]) -> tuple[float, str]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, out


async def _aioapns(url: str, context: ssl.SSLContext, count: int, recipients: int) -> int:
    class Protocol(APNsTLSClientProtocol):
        APNS_SERVER = "127.0.0.1"
        APNS_PORT = int(url.rpartition(":")[2])

    team = "TEAM123456"
    client = APNs(None, signing_key(), "ABCDE12345", team, BUNDLE_ID, max_connections=4, ssl_context=context)
    client.pool.protocol_class = Protocol
    message = json.loads(APNS_BODY)
    seed = Seed(count * 2)

    async def push(number: int) -> bool:
        request = NotificationRequest(seed.token(number), message, notification_id=str(uuid4()))
        return (await client.send_notification(request)).is_successful

    return await _spread(push, count, 100)


async def _httpx(url: str, context: ssl.SSLContext, count: int, recipients: int) -> int:
    headers = {"authorization": "Bearer " + "y" * 200, "content-type": "application/json"}
    async with httpx.AsyncClient(verify=context, http2=True, headers=headers, timeout=30) as client:

        async def push(number: int) -> bool:
            answer = await client.post(url + FCM_PATH, content=fcm_body(number))
            return answer.status_code == 200 and "name" in answer.json()

        return await _spread(push, count, 50)


async def _httpx_hms(url: str, context: ssl.SSLContext, count: int, recipients: int) -> int:
    """Four at a time, over HTTP/1.1, as our credential with its four connections."""
    headers = {"authorization": "Bearer " + "y" * 200, "content-type": "application/json"}
    whole, rest = divmod(count, recipients)
    bodies = iter([*[(recipients, hms_body(recipients))] * whole, *([(rest, hms_body(rest))] if rest else [])])
    good = 0

    async def worker(client: httpx.AsyncClient) -> None:
        nonlocal good
        for named, body in bodies:
            answer = await client.post(url + HMS_PATH, content=body)
            good += named * (answer.status_code == 200 and answer.json()["code"] == "80000000")

    async with (
        httpx.AsyncClient(verify=context, headers=headers, timeout=30) as client,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(4):
            group.create_task(worker(client))
    return good


async def _pywebpush(url: str, context: ssl.SSLContext, count: int, recipients: int) -> int:
    """Its own sending, with connections kept and the key read once; it speaks HTTP/1.1 and signs each request."""
    vapid, seed = Vapid(), Seed(count * 2, "webpush")
    vapid.generate_keys()
    keys: dict[str, str | bytes] = {**KEYS}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:

        async def push(number: int) -> bool:
            answer = await webpush_async(
                {"endpoint": f"{url}{PATH}{seed.token(number)}", "keys": keys},
                WEBPUSH_PAYLOAD.decode(),
                vapid_private_key=vapid,
                vapid_claims={"sub": "mailto:bench@example.com"},
                ttl=TTL_SECONDS,
                aiohttp_session=session,
            )
            return isinstance(answer, aiohttp.ClientResponse) and answer.status == 201

        return await _spread(push, count, 50)


async def _encryption(url: str, context: ssl.SSLContext, count: int, recipients: int) -> int:
    """Nothing but our encryption."""
    return sum(len(webpush_body()) > len(WEBPUSH_PAYLOAD) for _ in range(count))


async def _spread(push: Callable[[int], Awaitable[bool]], count: int, at_once: int) -> int:
    """Push to `count` devices, `at_once` at a time; how many were accepted."""
    numbers: Iterator[int] = (number for number in range(count * 2) if number % 200 not in (7, 8))
    left = iter(range(count))

    async def worker() -> int:
        good = 0
        for _ in left:
            good += await push(next(numbers))
        return good

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(worker()) for _ in range(at_once)]
    return sum(each.result() for each in workers)


async def _client(args: argparse.Namespace) -> None:
    context = ssl.create_default_context(cafile=args.ca_file)
    if args.client in ("aioapns", "httpx"):
        context.set_alpn_protocols(["h2"])
    started, cpu = time.perf_counter(), time.process_time()
    good = await _CLIENTS[args.client](args.url, context, args.count, args.recipients)
    seconds = time.perf_counter() - started
    print(json.dumps({"good": good, "seconds": seconds, "cpu": time.process_time() - cpu}))


_CLIENTS: Mapping[str, Callable[[str, ssl.SSLContext, int, int], Awaitable[int]]] = {
    "aioapns": _aioapns,
    "httpx": _httpx,
    "httpx-hms": _httpx_hms,
    "pywebpush": _pywebpush,
    "encryption": _encryption,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=_CLIENTS)
    parser.add_argument("url")
    parser.add_argument("ca_file")
    parser.add_argument("count", type=int)
    parser.add_argument("--recipients", type=int, default=1, help="of one request of HMS")
    uvloop.run(_client(parser.parse_args()))
