"""The benchmarks run and count rightly, in small and with the emulators for a sink (no nginx, no h2load)."""

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest

from tests.bench.broadcasting import Outcome, Shape, Stage, broadcast, check, stage
from tests.bench.installation import postgres
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


async def test_a_lost_and_a_doubled_push_are_faults(directory: Path) -> None:
    async with postgres(str(directory)) as database, stage(database, Seed(20, "mixed"), Shape(sink="emulator")) as at:
        outcome: Outcome = await broadcast(at)
        assert outcome.faults == []
        assert outcome.requests == 20
        uid = await again(at)
        faults, _ = await check(at, uid, 0)
    assert faults == ["20 devices got it more than once"]


async def again(at: Stage) -> str:
    """Send to the topic once more, and wait for the end; its uid."""
    notification = {"apns": {"payload": {"aps": {}}}, "fcm": {"message": {"data": {"a": "b"}}}}
    sent = await at.server.call("send_push_notification", recipient={"channels": [TOPIC]}, notification=notification)
    uid: str = sent["uid"]
    async with asyncio.timeout(20):
        while (await at.server.call("push_status", uid=uid))["state"] != "done":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return uid


def test_a_percentile_is_a_value_that_was_seen() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 0.999)] == [50.0, 99.0, 100.0]


def test_a_seed_knows_its_tokens_and_its_dead() -> None:
    seed = Seed(400, "mixed")
    tokens = [seed.token(number) for number in range(400)]
    assert len(set(tokens)) == 400
    assert sum(token.startswith("dead") for token in tokens) == seed.dead() == 4
    assert {len(token) for token in tokens} == {64, 147}
