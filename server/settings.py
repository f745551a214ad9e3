"""The settings: each declared once, here; the environment gives them, README.md lists them (`make docs`).

A setting `port` is the variable TOCSIN_PORT, or the content of the file that TOCSIN_PORT_FILE names (for secrets that
an orchestrator mounts). An empty variable is an absent one.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

from delivery.queues import redis_address
from methods.networks import read_networks
from methods.webpush_origins import read_origins
from server.urls import url_of

PREFIX = "TOCSIN_"
_SECRET = {"secret": True}
_NETWORKS = {"check": read_networks}  # raises ValueError
_QUEUE = {"secret": True, "check": redis_address.parse}
_AUTHORITIES = {"check": redis_address.tls_context}


class SettingsError(Exception):
    """Settings that cannot be used; the text names each variable and says what to do, one a line."""


class Settings(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What an operator may choose. Times are in seconds or days, as the names say."""

    database_url: Annotated[
        str,
        Meta(
            description="PostgreSQL 15 or newer, `postgresql://user:password@host/database`. "
            "Without it, an embedded PostgreSQL runs in the data directory.",
            extra=_SECRET,
        ),
    ] = ""
    queue_url: Annotated[
        str,
        Meta(
            description="Redis or Valkey (6.2 or newer) that keeps the order of the queue, `redis://host:6379`, "
            "`rediss://`, `redis+sentinel://`, `redis+cluster://`; docs/redis.md. Without it, PostgreSQL does.",
            extra=_QUEUE,
        ),
    ] = ""
    queue_tls_ca: Annotated[
        str, Meta(description="Authorities of a `rediss://` queue: a PEM file, or its text.", extra=_AUTHORITIES)
    ] = ""
    data_dir: Annotated[
        str, Meta(description="Directory of the embedded PostgreSQL, the generated secret key and API key.")
    ] = "./data"
    host: Annotated[str, Meta(description="Address to listen on; `0.0.0.0` or `::` for all.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 takes a free one.")] = 8000
    api_key: Annotated[
        str,
        Meta(
            min_length=16,
            description="An API key that always works, beside those of `tocsin key create`. At least 16 characters.",
            extra=_SECRET,
        ),
    ] = ""
    secret_key: Annotated[
        str,
        Meta(
            min_length=32,
            description="Encrypts the credentials in the database; the same on every host. At least 32 characters, "
            "for example from `openssl rand -hex 32`. Without it, one is generated in the data directory.",
            extra=_SECRET,
        ),
    ] = ""
    credentials_file: Annotated[
        str, Meta(description="JSON file that declares credentials of push services; docs/credentials.md.")
    ] = ""
    name: Annotated[
        str, Meta(description="Name of this server in `info` and in the logs.", extra={"default": "the host's name"})
    ] = ""
    api_processes: Annotated[int, Meta(ge=1, le=64, description="Processes that answer the API.")] = 1
    workers: Annotated[
        Annotated[int, Meta(ge=0, le=64)] | None,
        Meta(
            description="Sender processes; 0 leaves the sending to `tocsin work` elsewhere.",
            extra={"default": "half the cores, 1 to 4"},
        ),
    ] = None
    api_connections: Annotated[int, Meta(ge=1, le=500, description="Database connections of an API process.")] = 10
    worker_connections: Annotated[int, Meta(ge=2, le=500, description="Database connections of a sender process.")] = 6
    statement_timeout_seconds: Annotated[
        float, Meta(ge=1, le=3600, description="Time after which the database gives up on a statement.")
    ] = 30.0
    url: Annotated[
        str,
        Meta(description="Server that `tocsin call` talks to.", extra={"default": "from the host and the port"}),
    ] = ""
    allowed_addresses: Annotated[
        str,
        Meta(description="Networks that may call the API: `10.0.0.0/8, 2001:db8::/32`; empty: all.", extra=_NETWORKS),
    ] = ""
    trusted_proxies: Annotated[
        str,
        Meta(description="Networks of proxies whose `Forwarded` or `X-Forwarded-For` is believed.", extra=_NETWORKS),
    ] = ""
    max_body_bytes: Annotated[int, Meta(ge=1024, le=1 << 30, description="Largest request body.")] = 1 << 20
    max_requests: Annotated[
        int, Meta(ge=1, description="Requests answered at once in an API process; beyond it, 503 at once.")
    ] = 1000
    max_connections: Annotated[
        int,
        Meta(
            ge=16,
            description="Connections of clients to an API process, idle ones too; beyond it, 503. Bounded by `ulimit -n`.",  # noqa: E501
        ),
    ] = 20_000
    backlog: Annotated[
        int, Meta(ge=1, le=65535, description="Connections that the system keeps until they are taken up.")
    ] = 2048
    header_seconds: Annotated[
        float, Meta(ge=0.1, le=3600, description="Time for a client to send a request's headers.")
    ] = 10.0
    body_seconds: Annotated[
        float, Meta(ge=0.1, le=3600, description="Time for a client to send a body, beside what its size takes.")
    ] = 20.0
    write_seconds: Annotated[
        float, Meta(ge=0.1, le=3600, description="Time for a client to read an answer, beside what its size takes.")
    ] = 30.0
    bytes_per_second: Annotated[
        int, Meta(ge=1, description="Least rate of a body or an answer: how long its size may take.")
    ] = 16_384
    keep_alive_seconds: Annotated[
        int, Meta(ge=1, description="Time that an idle connection of a client is kept; above that of a proxy in front.")
    ] = 75
    max_queue: Annotated[
        int, Meta(ge=1, description="Waiting batches above which new pushes get error 111 and come again later.")
    ] = 50_000
    shutdown_seconds: Annotated[
        float, Meta(ge=1, le=600, description="Time to finish requests and pushes in flight after SIGTERM.")
    ] = 20.0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="`debug`, `info`, `warning` or `error`.")
    ] = "info"
    log_format: Annotated[Literal["text", "json"], Meta(description="`text` or `json` (one object a line).")] = "text"
    emulators: Annotated[
        Literal["auto", "on", "off"],
        Meta(description="Emulated push services as providers; `auto`: while there is no real credential."),
    ] = "auto"
    emulator_ports: Annotated[
        Annotated[int, Meta(ge=0, le=65528)] | None,
        Meta(
            description="First of eight ports on loopback: APNs, its control; likewise FCM, Web Push, HMS; 0 takes "
            "free ones.",
            extra={"default": "the port + 1, or free ones"},
        ),
    ] = None
    batch_size: Annotated[int, Meta(ge=1, le=10_000, description="Most recipients of a batch.")] = 500
    lease_seconds: Annotated[
        float, Meta(ge=5, le=3600, description="Time after which the batches of a sender that died are sent again.")
    ] = 60.0
    poll_seconds: Annotated[
        float, Meta(ge=0.05, le=60, description="Longest time between two looks into the queue.")
    ] = 1.0
    dead_device_days: Annotated[
        int, Meta(ge=0, le=3650, description="Time after which a device with a dead token is removed.")
    ] = 7
    stale_device_days: Annotated[
        int, Meta(ge=0, le=3650, description="Time without a registration after which a device is removed; 0 keeps it.")
    ] = 0
    outcome_days: Annotated[
        int, Meta(ge=1, le=3650, description="Time that finished pushes and their outcomes are kept.")
    ] = 30
    stats_days: Annotated[int, Meta(ge=1, le=36500, description="Time that counts by hour and day are kept.")] = 400
    stats_minute_days: Annotated[int, Meta(ge=1, le=3650, description="Time that counts by minute are kept.")] = 8
    export_file: Annotated[
        str, Meta(description="File that every outcome is appended to, on one host; docs/outcomes.md.")
    ] = ""
    export_file_bytes: Annotated[
        int, Meta(ge=1 << 20, le=1 << 40, description="Size at which that file is put aside; also every day.")
    ] = 1 << 28
    export_clickhouse_url: Annotated[
        str,
        Meta(
            description="Where every outcome is stored: `https://user:password@host:8443/database/table`.",
            extra=_SECRET,
        ),
    ] = ""
    export_from: Annotated[
        Literal["now", "start"],
        Meta(description="Where a new export begins: `now`, or at the `start` of what is kept."),
    ] = "now"
    private_hosts_allowed: Annotated[
        str, Meta(description="Private hosts that webhooks and Web Push may reach: `name:port`, `name`, `10.0.0.0/8`.")
    ] = ""
    webpush_origins: Annotated[
        str,
        Meta(
            description="Push services beside the browsers' own: `push.example.com`, `push.internal:8443`, `*.example.org`.",  # noqa: E501
            extra={"check": read_origins},
        ),
    ] = ""

    def __repr__(self) -> str:
        shown = {each.field: getattr(self, each.field) for each in DECLARED if not each.secret}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def data_path(self) -> Path:
        """The data directory, absolute."""
        return Path(self.data_dir).expanduser().resolve()

    @property
    def worker_count(self) -> int:
        """How many sender processes to run."""
        if self.workers is not None:
            return self.workers
        return max(1, min(4, (os.cpu_count() or 1) // 2))

    @property
    def client_url(self) -> str:
        """Where a client on this machine finds the server; no slash at the end."""
        if self.url:
            return self.url.rstrip("/")
        return url_of(self.host, self.port)

    @property
    def server_name(self) -> str:
        """The name given, else that of the host."""
        return self.name or socket.gethostname()


@dataclass(frozen=True, slots=True)
class Declared:
    """A setting as it was declared above."""

    field: str
    type: Any  # what msgspec converts to, with its limits
    description: str
    default: str
    secret: bool
    check: Callable[[Any], object]

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return PREFIX + self.field.upper()


def _declared() -> Iterator[Declared]:
    hints = get_type_hints(Settings, include_extras=True)
    for each in msgspec.structs.fields(Settings):
        meta: Meta = get_args(hints[each.name])[1]
        extra = meta.extra or {}
        yield Declared(
            each.name,
            hints[each.name],
            meta.description or "",
            extra.get("default") or _shown(each.default),
            bool(extra.get("secret")),
            extra.get("check", str),
        )


def _shown(default: object) -> str:
    if isinstance(default, float):
        return f"`{default:g}`"
    return "" if default in ("", None) else f"`{default}`"


DECLARED: tuple[Declared, ...] = tuple(_declared())


def read(environ: Mapping[str, str]) -> Settings:
    """Read the settings from environment variables; SettingsError with everything that is wrong with them."""
    values: dict[str, object] = {}
    problems: list[str] = []
    for each in DECLARED:
        try:
            if text := _text(each.variable, environ):
                values[each.field] = msgspec.convert(text, each.type, strict=False)
                each.check(values[each.field])
        except msgspec.ValidationError as error:
            problems.append(f"{each.variable}: {error}. {each.description}")
        except (OSError, ValueError) as error:
            problems.append(f"{each.variable}: {error}")
    if problems:
        raise SettingsError("\n".join(problems))
    return Settings(**values)  # type: ignore[arg-type]  # each was converted to its field's type


def _text(variable: str, environ: Mapping[str, str]) -> str:
    """The variable's value, or the content of the file that its `_FILE` form names."""
    given, file = environ.get(variable, ""), environ.get(f"{variable}_FILE", "")
    if given and file:
        raise ValueError(f"{variable} and {variable}_FILE are both set; keep one of them")
    return Path(file).read_text(encoding="utf-8").strip() if file else given.strip()
