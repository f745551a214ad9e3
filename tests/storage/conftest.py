"""A connection that many tests share, for those that change nothing."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest


@pytest.fixture(scope="session")
def shared_connection(postgres: Any, template: str) -> Iterator["psycopg.Connection[Any]"]:
    """A connection to a migrated database of the session's own."""
    with postgres.new_database(template) as url, psycopg.connect(url, autocommit=True) as connection:
        yield connection
