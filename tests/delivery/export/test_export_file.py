"""The file of events: whole lines, whatever happens, put aside in time."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from delivery.export.file import FileExport, append
from delivery.feed import Reader
from storage.database import Database
from tests.delivery.recording import OPTIONS, add_outcome, add_receipt, device, read_all

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0
Export = Callable[..., Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outcomes.jsonl"


def written_at(path: Path, at: float) -> None:
    os.utime(path, (at, at))


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


async def export(database: Database, path: Path, *, most_bytes: int = 1 << 28) -> None:
    """Write what is new, as a process that just started."""
    consumer = FileExport(database, path, most_bytes=most_bytes, from_start=True)
    for stream in consumer.streams:
        await read_all(Reader(database, consumer, stream, OPTIONS))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ids(path: Path) -> list[str]:
    return [line["id"] for line in lines(path)]


async def test_every_event_becomes_a_line(database: Database, path: Path) -> None:
    await add_outcome(database, 1, devices=[device(1), device(2)], exceptions={1: ("failed", "TooBig", 413)})
    await add_receipt(database, "a")
    await export(database, path)
    assert [(line["device_id"], line["outcome"], line["reason"]) for line in lines(path)] == [
        (device(1), "accepted", ""),
        (device(2), "failed", "TooBig"),
        ("d", "delivered", ""),
    ]


async def test_a_process_goes_on_where_another_stopped(database: Database, path: Path) -> None:
    for batch in (1, 2, 3):
        await add_outcome(database, batch)
        await export(database, path)
    assert ids(path) == ["1-1-0", "2-1-0", "3-1-0"]


async def test_a_half_line_is_cut_off_and_its_event_comes_again(database: Database, path: Path) -> None:
    await add_outcome(database, 1)
    await export(database, path)
    append(path, [b'{"id":"2-1-0","at":17'], 1 << 28)  # as a process that is killed before its cursor moves
    await add_outcome(database, 2)
    await export(database, path)
    assert ids(path) == ["1-1-0", "2-1-0"]


async def test_an_event_that_comes_again_has_its_id(database: Database, path: Path) -> None:
    await add_outcome(database, 1)
    consumer = FileExport(database, path, most_bytes=1 << 28, from_start=True)
    reader = Reader(database, consumer, "outcomes", OPTIONS)
    await database.execute(
        b"alter table feed_cursors add constraint stop check (begun_xact is not null or xact = 0)", {}
    )
    with pytest.raises(Exception, match="stop"):
        await reader.step()
    await database.execute(b"alter table feed_cursors drop constraint stop", {})
    await export(database, path)
    assert ids(path) == ["1-1-0", "1-1-0"]


@pytest.mark.parametrize("torn", [b"half", b"x" * 200_000])
def test_whatever_follows_the_last_line_is_cut_off(path: Path, torn: bytes) -> None:
    path.write_bytes(b"one\ntwo\n" + torn)
    append(path, [b"three\n"], 1 << 28)
    assert path.read_bytes() == b"one\ntwo\nthree\n"


@pytest.mark.parametrize("torn", [b"half", b"x" * 200_000])
def test_a_file_of_half_a_line_begins_anew(path: Path, torn: bytes) -> None:
    path.write_bytes(torn)
    append(path, [b"one\n"], 1 << 28)
    assert path.read_bytes() == b"one\n"


def test_a_full_file_is_put_aside_between_pages(path: Path) -> None:
    for _ in range(5):
        append(path, [b"12345678\n", b"12345678\n"], 20, NOW)
        written_at(path, NOW)
    assert names(path) == ["outcomes.jsonl", "outcomes.jsonl.2026-11-22.1", "outcomes.jsonl.2026-11-22.2"]
    assert [file.stat().st_size for file in sorted(path.parent.iterdir())] == [18, 36, 36]


def test_a_file_of_another_day_is_put_aside_under_its_day(path: Path) -> None:
    append(path, [b"before\n"], 1 << 28, NOW - DAY)
    written_at(path, NOW - DAY)
    append(path, [b"today\n"], 1 << 28, NOW)
    assert names(path) == ["outcomes.jsonl", "outcomes.jsonl.2026-11-21.1"]
    assert path.read_bytes() == b"today\n"


def test_a_file_that_was_put_aside_is_not_written_over(path: Path) -> None:
    path.with_name("outcomes.jsonl.2026-11-21.1").write_bytes(b"kept\n")
    append(path, [b"before\n"], 1 << 28, NOW - DAY)
    written_at(path, NOW - DAY)
    append(path, [b"today\n"], 1 << 28, NOW)
    assert path.with_name("outcomes.jsonl.2026-11-21.1").read_bytes() == b"kept\n"
    assert path.with_name("outcomes.jsonl.2026-11-21.2").read_bytes() == b"before\n"


async def test_a_disk_that_fails_loses_nothing(database: Database, path: Path) -> None:
    await add_outcome(database, 1)
    away = path.parent / "away" / "outcomes.jsonl"
    with pytest.raises(FileNotFoundError):
        await export(database, away)
    await export(database, path)
    assert ids(path) == ["1-1-0"]
