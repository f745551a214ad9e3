"""Several servers of Redis or Valkey as one, for the tests: watched by sentinels, or as a cluster."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from tests.redis_server import PERSISTENCE, RedisServer, new_folder, newest_binary, run, started, until


class Watched:
    """A master and its replica, and sentinels that know the master as `tocsin`."""

    NAME = "tocsin"

    def __init__(self, servers: Sequence[RedisServer], sentinels: Sequence[RedisServer]) -> None:
        self.servers = servers
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.NAME}"

    @property
    def master(self) -> RedisServer:
        """The server that the first sentinel names."""
        _, port = self.sentinels[0].command("SENTINEL GET-MASTER-ADDR-BY-NAME", self.NAME)
        return next(each for each in self.servers if each.port == int(port))

    def fail_over(self) -> None:
        """Have the replica take over from the master, which becomes its replica; wait until it has."""
        before = self.master
        until(self._accepted)
        until(lambda: all(self._named(each) not in (None, before.port) for each in self.sentinels))

    def _accepted(self) -> bool:
        try:
            self.sentinels[0].command("SENTINEL", "FAILOVER", self.NAME)
        except redis.ResponseError:  # the failover before has not ended yet
            return False
        return True

    def taken_over(self, dead: RedisServer) -> None:
        """Wait until all sentinels name another master than this one."""
        until(lambda: all(self._named(each) not in (None, dead.port) for each in self.sentinels))

    def _named(self, sentinel: RedisServer) -> int | None:
        found = sentinel.command("SENTINEL GET-MASTER-ADDR-BY-NAME", self.NAME)
        return int(found[1]) if found else None


@contextmanager
def watched_redis(
    *, binary: Path | None = None, sentinel_count: int = 3, replicated: bool = True, password: str = ""
) -> Iterator[Watched]:
    """Run a master, its replica and their sentinels; a password is that of all."""
    binary = binary or newest_binary()
    options = (*PERSISTENCE["none"], "--repl-diskless-sync-delay", "0", *_guarded(password))
    with ExitStack() as stack:
        servers = [started(stack, binary, *options, password=password)]
        if replicated:
            replica = started(
                stack, binary, *options, "--replicaof", "127.0.0.1", str(servers[0].port), password=password
            )
            until(lambda: replica.info()["master_link_status"] == "up")
            servers.append(replica)
        sentinels = [_sentinel(stack, servers[0], sentinel_count // 2 + 1) for _ in range(sentinel_count)]
        until(lambda: all(_knows_all(each, len(servers) - 1, sentinel_count) for each in sentinels))
        yield Watched(servers, sentinels)


def _guarded(password: str) -> tuple[str, ...]:
    return ("--requirepass", password, "--masterauth", password) if password else ()


def _sentinel(stack: ExitStack, master: RedisServer, quorum: int) -> RedisServer:
    folder = new_folder(stack)
    settings: dict[str, object] = {"down-after-milliseconds": 300, "failover-timeout": 2000}
    lines = [f"sentinel monitor {Watched.NAME} 127.0.0.1 {master.port} {quorum}"]
    if master.password:
        settings["auth-pass"] = master.password
        lines.append(f"requirepass {master.password}")
    lines += [f"sentinel {name} {Watched.NAME} {value}" for name, value in settings.items()]
    (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
    options = (str(folder / "sentinel.conf"), "--sentinel")
    sentinel = RedisServer(master.binary, folder, *options, announcing="+monitor", password=master.password)
    return run(stack, sentinel)


def _knows_all(sentinel: RedisServer, replica_count: int, sentinel_count: int) -> bool:
    found = sentinel.command("SENTINEL MASTERS")
    state = found[Watched.NAME]
    return bool(state["num-slaves"] == replica_count and state["num-other-sentinels"] == sentinel_count - 1)


class Cluster:
    """Masters of a cluster, without replicas."""

    def __init__(self, nodes: Sequence[RedisServer]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def settle(self) -> None:
        """Wait until every node finds the cluster whole."""
        until(lambda: all(self._is_whole(each) for each in self.nodes))

    def _is_whole(self, node: RedisServer) -> bool:
        state = node.command("CLUSTER INFO")
        return bool(state["cluster_state"] == "ok" and int(state["cluster_size"]) == len(self.nodes))


@contextmanager
def redis_cluster(*, binary: Path | None = None, size: int = 3) -> Iterator[Cluster]:
    """Run a cluster whose slots are spread evenly."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", *PERSISTENCE["none"])
    with ExitStack() as stack:
        nodes = [started(stack, binary or newest_binary(), *options) for _ in range(size)]
        for number, node in enumerate(nodes):
            node.command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            node.command("CLUSTER ADDSLOTS", *range(16384 * number // size, 16384 * (number + 1) // size))
            node.command("CLUSTER MEET", "127.0.0.1", nodes[0].port)
        running = Cluster(nodes)
        running.settle()
        yield running
