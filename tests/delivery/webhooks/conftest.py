import pytest

from storage.database import Database
from storage.vault import Vault
from tests.delivery.webhooks.telling import Teller


@pytest.fixture
async def teller(database: Database, vault: Vault) -> Teller:
    """The record turned into deliveries, from now on."""
    made = Teller(database, vault)
    await made.begin()
    return made
