"""Before there is a pool: whether a database can be reached, and the embedded server's own database."""

import psycopg

from storage.database import Database, DatabaseUnavailableError
from storage.queries import load

OLDEST_VERSION = 15
_QUERIES = load("provision")
_CONNECT_SECONDS = 5


def reach(url: str) -> int:
    """Connect once; return the major version of the server.

    Raises DatabaseUnavailableError with the reason in one line, without the URL's password.
    """
    try:
        with psycopg.connect(url, connect_timeout=_CONNECT_SECONDS) as connection:
            return connection.info.server_version // 10_000
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise DatabaseUnavailableError(_one_line(error)) from None


def _one_line(error: psycopg.Error) -> str:
    if isinstance(error, psycopg.ProgrammingError):
        return "the URL is not well-formed; postgresql://user:password@host:5432/database is"  # its text quotes the URL
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def ensure_database(url: str) -> None:
    """Create the database `tocsin` on this server when there is none."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(_QUERIES.has_database).fetchone()
        if row is None or not row[0]:
            connection.execute(_QUERIES.create_database)


async def clock(database: Database) -> float:
    """Return what the database's clock says, in Unix seconds."""
    return float((await database.values(_QUERIES.clock, {}))[0][0])
