import os
import sys

import pytest

from tests.server.fuzz import fuzz


async def test_no_input_is_answered_with_an_internal_error_or_out_of_form(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    seconds, seed = os.environ.get("TOCSIN_FUZZ_SECONDS"), int(os.environ.get("TOCSIN_FUZZ_SEED", "1"))
    seen = await fuzz(database_url, seed, float(seconds or 20), most=None if seconds else 500)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    for kind, count in sorted(seen.items()):
        sys.stdout.write(f"{count:8} {kind}\n")
