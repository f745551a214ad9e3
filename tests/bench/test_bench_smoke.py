"""The benchmarks run and count rightly, in small and with the emulators for a sink (no nginx, no h2load)."""

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest

from tests.bench.baselines import hms_body
from tests.bench.broadcasting import Outcome, Shape, Stage, broadcast, check, stage
from tests.bench.installation import postgres
from tests.bench.nginx import read_log
from tests.bench.payloads import NOTIFICATION, NOTIFICATIONS
from tests.bench.queues import Engine, redis_of, singles
from tests.bench.report import Report, percentile
from tests.bench.seeding import TOPIC, Seed

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "broadcast": ["--devices", "60", "--no-baselines"],
    "planning": ["--devices", "3000", "--page-sizes", "500", "1000"],
    "latency": [
        "--devices",
        "50",
        "--warm-up",
        "5",
        "--idle-pushes",
        "5",
        "--busy-seconds",
        "0.2",
        "--urgent-seconds",
        "0.4",
    ],
    "api": ["--devices", "20", "--calls", "20", "--warm-up", "5", "--half-seconds", "0.2"],
}


async def report_of(program: str, directory: Path, file: str) -> Report:
    """Run a benchmark program, which must succeed; its report."""
    words = [*SMALL[program], "--sink", "emulator", "--directory", str(directory), "--json", file]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"tests.bench.{program}", *words, cwd=ROOT, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return msgspec.json.decode(await asyncio.to_thread(Path(file).read_bytes), type=Report)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.mark.parametrize("program", SMALL)
async def test_a_program_ends_with_a_report_without_faults(program: str, directory: Path, tmp_path: Path) -> None:
    report = await report_of(program, directory, str(tmp_path / "report.json"))
    assert report.rows
    assert not report.faults
    assert all(len(row) == len(report.columns) for row in report.rows)


@pytest.mark.parametrize(("provider", "requests"), [("mixed", 20), ("webpush", 20), ("hms", 1)])
async def test_a_lost_and_a_doubled_push_are_faults(provider: str, requests: int, directory: Path) -> None:
    async with postgres(str(directory)) as database, stage(database, Seed(20, provider), Shape(sink="emulator")) as at:
        outcome: Outcome = await broadcast(at)
        assert outcome.faults == []
        assert outcome.requests == requests
        uid = await again(at)
        faults, _ = await check(at, uid, 0)
    assert faults == ["20 devices got it more than once"]


async def test_single_pushes_that_lie_in_the_queue_are_sent_and_counted(directory: Path) -> None:
    found, shape = Engine("Redis"), Shape(senders=0, sink="emulator")
    async with postgres(str(directory)) as database:
        with redis_of("Redis", "none") as (url, pids):
            async with stage(database, Seed(0, apart=10), shape, queue_url=url) as at:
                rate, cpu = await singles(at, 1, range(10), pids, found)
    assert rate > 0
    assert len(cpu) == 3
    assert found.faults == []


async def again(at: Stage) -> str:
    """Send to the topic once more, and wait for the end; its uid."""
    notification = NOTIFICATIONS.get(at.seed.provider, NOTIFICATION)
    sent = await at.server.call("send_push_notification", recipient={"channels": [TOPIC]}, notification=notification)
    uid: str = sent["uid"]
    async with asyncio.timeout(20):
        while (await at.server.call("push_status", uid=uid))["state"] != "done":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return uid


def test_a_percentile_is_a_value_that_was_seen() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 0.999)] == [50.0, 99.0, 100.0]


@pytest.mark.parametrize(
    ("provider", "lengths"), [("mixed", {64, 147}), ("webpush", {140}), ("apns", {64}), ("fcm", {147})]
)
def test_a_seed_knows_its_tokens_and_its_dead(provider: str, lengths: set[int]) -> None:
    seed = Seed(400, provider)
    tokens = [seed.token(number) for number in range(400)]
    assert len(set(tokens)) == 400
    assert sum(token.startswith("dead") for token in tokens) == seed.dead() == 4
    assert {len(token) for token in tokens} == lengths


def test_a_log_of_nginx_tells_every_recipient_of_a_request(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    body = hms_body(2).decode()
    log.write_text(f"200 /3/device/a 1.5\n201 /wpush/v2/b 2.5\n200 c:d 3.5\n503 {body} 4.5\n")
    seed = Seed(2, "hms")
    assert [(status, token.decode(), at) for status, token, at in read_log(log, 0)] == [
        (200, "a", 1.5),
        (201, "b", 2.5),
        (200, "c:d", 3.5),
        (503, seed.token(0), 4.5),
        (503, seed.token(1), 4.5),
    ]
