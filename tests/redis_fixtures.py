"""Fixtures of Redis: one server of each kind for the session, emptied for each test that takes it."""

from collections.abc import Iterator

import pytest

from tests.redis_deployments import Cluster, Watched, redis_cluster, watched_redis
from tests.redis_server import RedisServer, oldest_binary, redis_server


@pytest.fixture(scope="session")
def redis_of_session() -> Iterator[RedisServer]:
    """The newest server there is, without persistence."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def old_redis_of_session() -> Iterator[RedisServer]:
    """The oldest server that we support."""
    with redis_server(binary=oldest_binary()) as server:
        yield server


@pytest.fixture
def redis(redis_of_session: RedisServer) -> RedisServer:
    """A server without keys; a test that kills it starts it again."""
    redis_of_session.revive()
    redis_of_session.command("FLUSHALL")
    return redis_of_session


@pytest.fixture
def redis_url(redis: RedisServer) -> str:
    """The URL of a server without keys."""
    return redis.url


@pytest.fixture
def old_redis(old_redis_of_session: RedisServer) -> RedisServer:
    """A server of the oldest version that we support, without keys."""
    old_redis_of_session.revive()
    old_redis_of_session.command("FLUSHALL")
    return old_redis_of_session


@pytest.fixture
def old_redis_url(old_redis: RedisServer) -> str:
    """The URL of a server of the oldest version, without keys."""
    return old_redis.url


@pytest.fixture(scope="session")
def watched() -> Iterator[Watched]:
    """A master and a replica with three sentinels; whoever kills the master starts it again."""
    with watched_redis() as running:
        yield running


@pytest.fixture(scope="session")
def cluster_of_session() -> Iterator[Cluster]:
    with redis_cluster() as running:
        yield running


@pytest.fixture
def cluster(cluster_of_session: Cluster) -> Cluster:
    """Three masters without keys."""
    for node in cluster_of_session.nodes:
        node.command("FLUSHALL")
    return cluster_of_session
