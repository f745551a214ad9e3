"""sql/schema.sql is what the migrations make."""

import asyncio
from pathlib import Path

from server.schema_dump import dump, tidy


def test_the_schema_file_is_what_the_migrations_make() -> None:
    assert asyncio.run(dump()) == Path("sql/schema.sql").read_text(encoding="utf-8"), "run `make schema`"


def test_noise_is_left_out() -> None:
    text = "--\n-- by 18\n--\n\n\\restrict x\n\nSET a = 1;\n\n\nCREATE TABLE a (\n    b text\n);\n\n\\unrestrict x\n"
    assert tidy(text).split("\n\n", 1)[1] == "CREATE TABLE a (\n    b text\n);\n"
