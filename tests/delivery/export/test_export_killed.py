"""An export whose process is killed again and again: every event is in the files, and every line is whole."""

import asyncio
import json
import random
import sys
from pathlib import Path

from storage.database import Database
from tests.delivery.recording import add_outcome, caught_up, device

_EXPORT = """
import asyncio, sys
from pathlib import Path
from delivery.export.file import FileExport
from delivery.feed import Feed
from storage.database import Database
from tests.delivery.recording import OPTIONS

async def main():
    async with Database(sys.argv[1]) as database:
        export = FileExport(database, Path(sys.argv[2]), most_bytes=60_000, from_start=True)
        await Feed(database, [export], OPTIONS).run()

asyncio.run(main())
"""
_DEVICES = 40


def written(folder: Path) -> set[str]:
    """The ids in all files; each line must be whole."""
    return {json.loads(line)["id"] for file in folder.iterdir() for line in file.read_text().splitlines()}


async def test_nothing_is_lost_when_the_process_is_killed(database: Database, tmp_path: Path) -> None:
    choice = random.Random(3)
    batch = 0
    for life in range(4):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _EXPORT, database.url, str(tmp_path / "outcomes.jsonl")
        )
        for _ in range(choice.randint(5, 40)):
            batch += 1
            await add_outcome(database, batch, devices=[device(number) for number in range(_DEVICES)])
            if batch % 10 == 0 or life == 3:
                await caught_up(database, "export_file")
        process.kill()
        await process.wait()
    assert written(tmp_path) == {f"{number}-1-{place}" for number in range(1, batch + 1) for place in range(_DEVICES)}
