"""Fixtures of the multiplexer's tests: they run on uvloop, as the product does."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from tests.delivery.http2.http2_peer import Peer
from tests.delivery.http2.http2_tls import Files, make_files


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Hook of pytest-asyncio."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """A scripted server on a port of its own."""
    async with Peer() as peer:
        yield peer


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_files(tmp_path_factory.mktemp("http2"))
