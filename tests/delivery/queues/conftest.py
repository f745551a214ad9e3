"""The queue under test, and credentials to send with."""

from collections.abc import Callable

import pytest

from delivery.queues.postgres import PostgresQueue
from storage import queue as storage
from storage.database import Database
from storage.ids import new_id

MakeQueue = Callable[..., PostgresQueue]


@pytest.fixture
def queue(database: Database) -> MakeQueue:
    """Makes a queue as one worker has it."""

    def make(*, lease_seconds: float = 60.0) -> PostgresQueue:
        return PostgresQueue(storage.Queue(database, new_id(), lease_seconds))

    return make


@pytest.fixture
async def credentials(database: Database) -> None:
    for name in ("apns", "other"):
        await database.execute(
            b"insert into credentials (provider_id, provider, is_default, source, settings, secrets)"
            b" values (%(id)s, 'apns', %(id)s = 'apns', 'api', '{}', '')",
            {"id": name},
        )
