"""What TOCSIN_QUEUE_URL says: where Redis or Valkey is, and of which kind."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

_PORTS = {"server": 6379, "sentinel": 26379, "cluster": 6379}
_FORMS = (
    "redis://[user:password@]host[:6379][/db], redis+sentinel://host:26379,host:26379/master[/db] "
    "or redis+cluster://host:6379,host:6379; rediss… with TLS"
)

Kind = Literal["server", "sentinel", "cluster"]
HostPort = tuple[str, int]


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where Redis is. `hosts` are the server, the sentinels, or some nodes of the cluster."""

    kind: Kind
    hosts: tuple[HostPort, ...]
    tls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    master: str = ""  # the name that the sentinels know it by
    db: int = 0

    def __str__(self) -> str:
        """Return where it is, without the password."""
        hosts = ", ".join(f"{host}:{port}" for host, port in self.hosts)
        return {"server": hosts, "sentinel": f"{self.master} of the sentinels {hosts}"}.get(
            self.kind, f"the cluster of {hosts}"
        )


def parse(url: str) -> RedisAddress:
    """Read a URL; ValueError, whose text holds no part of it but the scheme, says what is wrong."""
    scheme, separator, rest = url.partition("://")
    name, plus, kind = scheme.lower().partition("+")
    if not separator or name not in {"redis", "rediss", "valkey", "valkeys"} or (plus and kind not in _PORTS):
        raise ValueError(f"not the address of a Redis: {_FORMS}")
    if "?" in rest or "#" in rest:
        raise ValueError(f"nothing may follow the path; a ? or # in a password is written %3F, %23: {_FORMS}")
    return _address("server" if not plus else _kind(kind), name in {"rediss", "valkeys"}, rest)


def tls_context(tls_ca: str) -> ssl.SSLContext:
    """Make the TLS of our side: names are verified; `tls_ca` is PEM text or a file of it, '' trusts the system's.

    ValueError when it cannot be used.
    """
    try:
        text = tls_ca if "-----BEGIN" in tls_ca or not tls_ca else Path(tls_ca).read_text(encoding="ascii")
        context = ssl.create_default_context(cadata=text or None)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ValueError(f"not a certificate authority in PEM, nor a file of one ({type(error).__name__})") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _kind(text: str) -> Kind:
    return "sentinel" if text == "sentinel" else "cluster" if text == "cluster" else "server"


def _address(kind: Kind, tls: bool, rest: str) -> RedisAddress:
    access, _, where = rest.rpartition("@")
    user, _, password = access.partition(":")
    hosts, _, path = where.partition("/")
    master, _, db = path.strip("/").partition("/") if kind == "sentinel" else ("", "", path.strip("/"))
    listed = tuple(_host(each, _PORTS[kind]) for each in hosts.split(","))
    if kind == "sentinel" and not master:
        raise ValueError("the name of the sentinels' master is missing: redis+sentinel://host:26379/NAME")
    if kind == "server" and len(listed) > 1:
        raise ValueError("several hosts need redis+sentinel:// or redis+cluster://")
    if not (db or "0").isdecimal() or (kind == "cluster" and int(db or 0)):
        raise ValueError("the database is a number, and a cluster has only 0")
    return RedisAddress(kind, listed, tls, unquote(user), unquote(password), unquote(master), int(db or 0))


def _host(text: str, usual_port: int) -> HostPort:
    """Read `host`, `host:port`, `[::1]` or `[::1]:port`."""
    host, _, port = text.removeprefix("[").partition("]") if text.startswith("[") else text.partition(":")
    port = port.removeprefix(":") or str(usual_port)
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"a host or its port is missing or wrong: {_FORMS}")
    return host, int(port)
