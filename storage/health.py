"""What the database says of itself: its version, and whether the queue can be read."""

from storage.database import Database
from storage.queries import load

_QUERIES = load("health")


async def server_version(database: Database) -> str:
    """Return the version of PostgreSQL, such as `18.1`; DatabaseUnavailableError when it cannot be reached."""
    return str((await database.values(_QUERIES.server_version, {}))[0][0])


async def queue_is_readable(database: Database) -> None:
    """Read one row of the queue; raises what the database raises."""
    await database.values(_QUERIES.read_queue, {})
