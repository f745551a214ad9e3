"""What our figures are compared with: h2load, aioapns and httpx against the same sink.

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
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import msgspec
import uvloop
from aioapns import APNs, NotificationRequest
from aioapns.connection import APNsTLSClientProtocol

from tests.bench.payloads import APNS_BODY, FCM_MESSAGE
from tests.bench.processes import metered
from tests.bench.seeding import Seed
from tests.bench.sinks import BUNDLE_ID, Sink, program, signing_key

FCM_PATH = "/v1/projects/tocsin-emulator/messages:send"
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
        return [] if self.good == self.count else [f"{self.name}: {self.count - self.good} answers were not 200"]


def fcm_body(number: int) -> bytes:
    """A request body as the server makes it for this device."""
    token = Seed(1 << 31, "fcm").token(number).encode()
    return b'{"message":{"token":"' + token + b'",' + FCM_MESSAGE[1:] + b"}"


async def h2load(sink: Sink, folder: Path, shape: str, count: int, connections: int, streams: int) -> Baseline:
    """h2load with the same connections, streams, fields and size of body; dead tokens are left out."""
    numbers = [number for number in range(_URIS * 2) if number % 200 not in (7, 8)][:_URIS]
    fields = ["authorization: bearer " + "x" * 200]
    if shape == "apns":
        paths = [f"/3/device/{Seed(_URIS * 2).token(number)}" for number in numbers]
        fields += [f"apns-topic: {BUNDLE_ID}", "apns-push-type: alert", f"apns-id: {uuid4()}"]
    else:
        paths = [FCM_PATH]
        fields += ["content-type: application/json"]
    (folder / "uris").write_text("".join(f"{sink.url}{path}\n" for path in paths))
    (folder / "data").write_bytes(APNS_BODY if shape == "apns" else fcm_body(9))
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


async def library(sink: Sink, name: str, count: int) -> Baseline:
    """A Python client (aioapns, httpx) in a process of its own; `count` may be small, its rate does not grow."""
    command = [sys.executable, "-m", "tests.bench.baselines", name, sink.url, str(sink.ca_file), str(count)]
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


async def _aioapns(url: str, context: ssl.SSLContext, count: int) -> int:
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


async def _httpx(url: str, context: ssl.SSLContext, count: int) -> int:
    headers = {"authorization": "Bearer " + "y" * 200, "content-type": "application/json"}
    async with httpx.AsyncClient(verify=context, http2=True, headers=headers, timeout=30) as client:

        async def push(number: int) -> bool:
            answer = await client.post(url + FCM_PATH, content=fcm_body(number))
            return answer.status_code == 200 and "name" in answer.json()

        return await _spread(push, count, 50)


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
    context.set_alpn_protocols(["h2"])
    send = {"aioapns": _aioapns, "httpx": _httpx}[args.client]
    started, cpu = time.perf_counter(), time.process_time()
    good = await send(args.url, context, args.count)
    seconds = time.perf_counter() - started
    print(json.dumps({"good": good, "seconds": seconds, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=["aioapns", "httpx"])
    parser.add_argument("url")
    parser.add_argument("ca_file")
    parser.add_argument("count", type=int)
    uvloop.run(_client(parser.parse_args()))
