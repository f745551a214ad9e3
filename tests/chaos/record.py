"""What the engine's own record says after a run, read from the database, and what the emulators saw."""

import msgspec
import psycopg
from psycopg.rows import args_row

from tests.chaos.side import Arrival, read_arrivals
from tests.chaos.world import World

_COLUMNS = ("accepted", "failed", "expired", "cancelled", "suppressed", "dropped")


class PushRecord(msgspec.Struct):
    """A push as stored; times are Unix seconds."""

    id: str
    uid: str
    state: str
    accepted_at: float
    send_at: float
    planned_at: float | None
    finished_at: float | None
    planned: int
    settled: int
    ledger: dict[str, int]  # over all providers


class Attempt(msgspec.Struct):
    """A settled attempt of a batch; `ends` are (outcome, reason) of the recipients that were not accepted."""

    push_id: str
    batch_id: int
    provider: str
    credential: str
    attempt: int
    settled_at: float
    recipients: list[str]  # device ids, or raw tokens
    ends: dict[int, tuple[str, str]]

    def end(self, recipient: str) -> tuple[str, str]:
        """What came of one of its recipients: (outcome, reason)."""
        return self.ends.get(self.recipients.index(recipient), ("accepted", ""))


class Claim(msgspec.Struct):
    """A claim of a batch by a process."""

    batch_id: int
    attempt: int
    worker: str
    at: float


class DeviceRecord(msgspec.Struct):
    """A device as stored."""

    id: str
    state: str
    failing_reason: str
    token: str
    environment: str


class Record(msgspec.Struct):
    """All of it; `pauses` are those still in force."""

    pushes: dict[str, PushRecord]
    attempts: list[Attempt]
    claims: list[Claim]
    arrivals: list[Arrival]
    devices: dict[str, DeviceRecord] = {}
    pauses: list[str] = []


def read_record(world: World) -> Record:
    """Read everything; nothing is being sent any more."""
    with psycopg.connect(world.url, application_name="chaos") as connection:
        pushes = _pushes(connection)
        attempts = connection.cursor(row_factory=args_row(_attempt)).execute(
            "select push_id::text, batch_id, provider, credential, attempt, extract(epoch from settled_at)::float8,"
            " coalesce(device_ids::text[], string_to_array(tokens, E'\\n')), positions, outcomes, reasons from outcomes"
            " order by settled_at"
        )
        claims = connection.cursor(row_factory=args_row(Claim)).execute(
            "select batch_id, attempt, worker, extract(epoch from at)::float8 from chaos_claims order by at"
        )
        devices = connection.cursor(row_factory=args_row(DeviceRecord)).execute(
            "select id::text, state, failing_reason, token, environment from devices"
        )
        pauses = connection.execute("select credential || ' ' || scope || ': ' || reason from pauses")
        return Record(
            pushes={push.uid: push for push in pushes},
            attempts=attempts.fetchall(),
            claims=claims.fetchall(),
            arrivals=read_arrivals(world.arrivals),
            devices={device.id: device for device in devices},
            pauses=[str(row[0]) for row in pauses],
        )


def _pushes(connection: "psycopg.Connection[tuple[object, ...]]") -> list[PushRecord]:
    found = connection.cursor(row_factory=args_row(PushRecord)).execute(
        "select p.id::text, p.uid, p.state, extract(epoch from p.accepted_at)::float8,"
        " extract(epoch from p.send_at)::float8, extract(epoch from p.planned_at)::float8,"
        " extract(epoch from p.finished_at)::float8, p.planned, p.settled,"
        " coalesce((select jsonb_build_object('planned', sum(l.planned), 'accepted', sum(l.accepted), 'failed',"
        " sum(l.failed), 'expired', sum(l.expired), 'cancelled', sum(l.cancelled), 'suppressed', sum(l.suppressed),"
        " 'dropped', sum(l.dropped)) from push_ledger l where l.push_id = p.id having count(*) > 0), '{}')"
        " from pushes p"
    )
    return found.fetchall()


def pending(push: PushRecord) -> int:
    """Recipients that have come to no end."""
    return push.ledger.get("planned", 0) - sum(push.ledger.get(name, 0) for name in _COLUMNS)


def unfinished(world: World) -> int:
    """Pushes that are not done, cancelled ones with something in flight, and credentials that are paused."""
    with psycopg.connect(world.url, application_name="chaos") as connection:
        found = connection.execute(
            "select (select count(*) from pushes where state not in ('done', 'cancelled') or planned <> settled)"
            " + (select count(*) from batches) + (select count(*) from pauses)"
        ).fetchone()
    return int(found[0]) if found else 0


def hurry_probes(world: World, seconds: float) -> None:
    """Let no pause wait longer than this for its next probe: it would be half a minute, and up to fifteen."""
    with psycopg.connect(world.url, autocommit=True, application_name="chaos", connect_timeout=2) as connection:
        connection.execute(
            "update pauses set next_probe_at = now() + make_interval(secs => %(seconds)s)"
            " where next_probe_at > now() + make_interval(secs => %(seconds)s)",
            {"seconds": seconds},
        )


def _attempt(
    push_id: str,
    batch_id: int,
    provider: str,
    credential: str,
    attempt: int,
    settled_at: float,
    recipients: list[str],
    positions: list[int],
    outcomes: list[str],
    reasons: list[str],
) -> Attempt:
    ends = {position: (outcome, reason) for position, outcome, reason in zip(positions, outcomes, reasons, strict=True)}
    return Attempt(push_id, batch_id, provider, credential, attempt, settled_at, recipients, ends)
