"""A short chaos run: a few kills, some storms, every sort of push."""

from pathlib import Path

from tests.chaos.report import append
from tests.chaos.run import Order, run
from tests.chaos.script import Size, write_script

_SMALL = Size(devices=60, users=20, push_seconds=0.15, change_seconds=0.3, storm_seconds=1.5, slow_storms=False)


async def test_a_few_kills_lose_nothing_and_double_nothing_unexplained(tmp_path: Path) -> None:
    outcome = await run(Order(seed=11, kills=5, seconds=5.0, drain_seconds=60.0, size=_SMALL, keep=False))
    assert outcome.verdict.findings == []
    assert outcome.drained
    assert outcome.verdict.arrivals > 0
    append(tmp_path / "chaos.md", outcome, "2026-11-22")
    assert (tmp_path / "chaos.md").read_text().count("\n| 2026-11-22 | 11 |") == 1


def test_the_same_seed_is_the_same_script() -> None:
    assert write_script(7, 20, 30.0, Size()) == write_script(7, 20, 30.0, Size())
    assert write_script(7, 20, 30.0, Size()) != write_script(8, 20, 30.0, Size())
