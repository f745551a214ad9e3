"""The multiplexer against h2load, side by side on the same sink: rate, CPU and the ratio, every answer checked.

Run `python tests/bench/multiplexer.py --help`. Each round runs h2load and then our client, in processes of their own
pinned to the same core, against a fresh sink on another; ratios are of neighbours, the median of the rounds is printed.
"""

import argparse
import asyncio
import contextlib
import datetime
import ipaddress
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from delivery.http2 import Answer, Failure, Group, Head, Origin, Pool, PoolOptions, tls_context

_JWT = b"bearer " + b"eyJhbGciOiJFUzI1NiIsImtpZCI6IkFCQzEyM0RFRkcifQ." + b"x" * 140
_APNS_FIELDS = [
    (b"authorization", _JWT),
    (b"apns-topic", b"org.example.app"),
    (b"apns-push-type", b"alert"),
    (b"apns-priority", b"10"),
]
_FCM_FIELDS = [(b"authorization", b"Bearer ya29." + b"y" * 200), (b"content-type", b"application/json")]
_APNS_BODY = json.dumps({"aps": {"alert": {"title": "News", "body": "x" * 155}}}).encode()
_FCM_PATH = b"/v1/projects/example/messages:send"
_FCM_ANSWER = b'{"name":"projects/example/messages/0:1700000000000000%5f6a1234abcd5678"}'
_TOKENS = [b"%064x" % (number * 7919) for number in range(1000)]
_GROUP = 1000
_CONFIG = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; {user}
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; http2_max_concurrent_streams 1000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} http2{ssl};
    location /3/device/ {{ return 200; }}
    location /v1/ {{ default_type application/json; return 200 '{answer}'; }}
  }}
}}
"""


class Counting(Group):
    """Counts answers; anything but a good 200 is an error."""

    __slots__ = ("bad", "done", "good", "want")
    good: int
    bad: int
    want: bytes
    done: asyncio.Event

    def on_ok(self, index: int, body: bytes) -> None:
        if body == self.want:
            self.good += 1
        else:
            self.bad += 1
        if self.good + self.bad == self.count:
            self.done.set()

    def on_answer(self, index: int, answer: Answer) -> None:
        self._spoil()

    def on_failure(self, index: int, failure: Failure) -> None:
        self._spoil()

    def _spoil(self) -> None:
        self.bad += 1
        if self.good + self.bad == self.count:
            self.done.set()


def fcm_bodies() -> list[bytes]:
    """A body for each device, 300 to 400 bytes."""
    texts = ({"title": "News", "body": "x" * (80 + number % 100)} for number in range(len(_TOKENS)))
    messages = ({"token": token.decode() * 2, "notification": text} for token, text in zip(_TOKENS, texts, strict=True))
    return [json.dumps({"message": message}).encode() for message in messages]


def group(shape: str, authority: bytes, scheme: bytes, count: int, bodies: list[bytes]) -> Counting:
    """A batch as the sender would submit it."""
    if shape == "apns":
        head = Head(authority, b"/3/device/", _APNS_FIELDS, id_name=b"apns-id", scheme=scheme)
        ids = [b"123e4567-e89b-12d3-a456-%012d" % number for number in range(count)]
        made = Counting(head, count, _APNS_BODY, paths=_TOKENS[:count], ids=ids)
        made.want = b""
    else:
        made = Counting(Head(authority, _FCM_PATH, _FCM_FIELDS, scheme=scheme), count, bodies[:count])
        made.want = _FCM_ANSWER
    made.good = made.bad = 0
    made.done = asyncio.Event()
    return made


async def push(args: argparse.Namespace) -> None:
    """Our client: submit groups while there is room, and wait for every answer."""
    tls = tls_context(cafile=args.cafile) if args.cafile else None
    limits = {"max_connections": args.connections, "streams_per_connection": args.streams}
    options = PoolOptions(**limits, backlog=4 * _GROUP, connects_per_minute=1000)
    bodies = fcm_bodies()
    authority, scheme = f"127.0.0.1:{args.port}".encode(), b"https" if tls else b"http"
    async with Pool(Origin("127.0.0.1", args.port, tls), options) as pool:
        await pool.warm_up()
        groups = []
        cpu, started = time.process_time(), time.perf_counter()
        left = args.requests
        while left > 0:
            await pool.wait_for_room()
            groups.append(group(args.shape, authority, scheme, min(_GROUP, left), bodies))
            left -= groups[-1].count
            pool.submit(groups[-1])
        for waiting in groups:
            await waiting.done.wait()
        elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
        good = sum(each.good for each in groups)
        print(json.dumps({"seconds": elapsed, "cpu": cpu, "good": good, "opened": pool.stats.opened}))


@contextlib.contextmanager
def sink(args: argparse.Namespace, folder: Path) -> Iterator[int]:
    """Nginx or nghttpd on a free port of the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if args.sink == "nginx":
        ssl = f" ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem" if args.tls else ""
        user = "user root;" if os.getuid() == 0 else ""
        text = _CONFIG.format(folder=folder, port=port, ssl=ssl, user=user, answer=_FCM_ANSWER.decode())
        (folder / "nginx.conf").write_text(text)
        command = [args.nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    else:
        serve(folder)
        security = [f"{folder}/key.pem", f"{folder}/cert.pem"] if args.tls else []
        plain = [] if args.tls else ["--no-tls"]
        command = [args.nghttpd, *plain, "-a", "127.0.0.1", "-m", "1000", "-d", f"{folder}/www", str(port), *security]
    process = subprocess.Popen(pinned(args.sink_core, command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def serve(folder: Path) -> None:
    """Files that make nghttpd answer as the services do."""
    devices = folder / "www/3/device"
    if devices.exists():
        return
    devices.mkdir(parents=True)
    for token in _TOKENS:
        (devices / token.decode()).touch()
    answer = folder / "www" / _FCM_PATH.decode().lstrip("/")
    answer.parent.mkdir(parents=True)
    answer.write_bytes(_FCM_ANSWER)


def wait_for(port: int) -> None:
    """Until the sink listens."""
    for _ in range(1000):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise SystemExit("the sink does not start")


def pinned(core: int, command: list[str]) -> list[str]:
    """The command on one core."""
    return ["taskset", "-c", str(core), *command] if shutil.which("taskset") else command


def run_h2load(args: argparse.Namespace, port: int, folder: Path) -> dict[str, float]:
    """h2load with the same requests; its CPU is the children's."""
    scheme = "https" if args.tls else "http"
    apns = args.shape == "apns"
    paths = [b"/3/device/" + token for token in _TOKENS] if apns else [_FCM_PATH]
    (folder / "uris").write_text("".join(f"{scheme}://127.0.0.1:{port}{path.decode()}\n" for path in paths))
    (folder / "data").write_bytes(_APNS_BODY if apns else fcm_bodies()[50])
    fields = [*_APNS_FIELDS, (b"apns-id", b"123e4567-e89b-12d3-a456-000000000000")] if apns else _FCM_FIELDS
    command = [args.h2load, "-n", str(args.requests), "-c", str(args.connections), "-m", str(args.streams), "-t", "1"]
    command += ["-i", str(folder / "uris"), "-d", str(folder / "data")]
    for name, value in fields:
        command += ["-H", f"{name.decode()}: {value.decode()}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run(pinned(args.client_core, command), capture_output=True, text=True, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    rate = float(out.split("finished in ")[1].split(", ")[1].split(" ")[0])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    good = float(out.split("status codes: ")[1].split(" ")[0])
    return {"seconds": args.requests / rate, "cpu": cpu, "good": good}


def run_ours(args: argparse.Namespace, port: int, folder: Path) -> dict[str, float]:
    """Our client in a process of its own."""
    command = [sys.executable, __file__, "--client", "--port", str(port), "--shape", args.shape]
    command += ["-n", str(args.requests), "-c", str(args.connections), "-m", str(args.streams)]
    command += ["--cafile", str(folder / "cert.pem")] if args.tls else []
    out = subprocess.run(pinned(args.client_core, command), stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(json.loads(out))


def make_certificate(folder: Path) -> None:
    """A certificate for 127.0.0.1 that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sink")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=30)).add_extension(address, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    (folder / "cert.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.TraditionalOpenSSL
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


def compare(args: argparse.Namespace) -> None:
    """Rounds of h2load and us."""
    ratios, cpu_ratios = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        if args.tls:
            make_certificate(folder)
        for number in range(args.rounds):
            with sink(args, folder) as port:
                theirs, ours = run_h2load(args, port, folder), run_ours(args, port, folder)
            for who, result in (("h2load", theirs), ("tocsin", ours)):
                rate, cpu = args.requests / result["seconds"], result["cpu"] / args.requests * 1e6
                right = "all answers right" if result["good"] == args.requests else f"WRONG: {result['good']:.0f} right"
                print(f"round {number + 1} {who}: {rate:9,.0f}/s, {cpu:5.2f} ms CPU per 1,000 pushes, {right}")
            ratios.append(theirs["seconds"] / ours["seconds"])
            cpu_ratios.append(ours["cpu"] / theirs["cpu"])
    print(
        f"{args.shape} on {args.sink}{' with TLS' if args.tls else ''}, {args.connections} x {args.streams} streams: "
        f"rate {statistics.median(ratios):.2f} x h2load, CPU {statistics.median(cpu_ratios):.2f} x h2load"
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=["apns", "fcm"], default="apns")
    parser.add_argument("--sink", choices=["nginx", "nghttpd"], default="nginx")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("-n", "--requests", type=int, default=200_000)
    parser.add_argument("-c", "--connections", type=int, default=1)
    parser.add_argument("-m", "--streams", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--client-core", type=int, default=1)
    parser.add_argument("--sink-core", type=int, default=0)
    for program in ("h2load", "nginx", "nghttpd"):
        parser.add_argument(f"--{program}", default=shutil.which(program) or program, help="path of the program")
    parser.add_argument("--client", action="store_true", help="run our client alone against --port")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cafile")
    args = parser.parse_args()
    if args.client:
        uvloop.run(push(args))
    else:
        compare(args)


if __name__ == "__main__":
    main()
