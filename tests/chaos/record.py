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
    planned: int
    settled: int
    ledger: dict[str, int]  # over all providers


class Attempt(msgspec.Struct):
    """A settled attempt of a batch; `ends` are (outcome, reason) of the recipients that were not accepted."""

    push_id: str
    batch_id: int
    provider: str
    attempt: int
    settled_at: float
    recipients: list[str]  # device ids, or raw tokens
    ends: dict[int, tuple[str, str]]


class Claim(msgspec.Struct):
    """A claim of a batch by a process."""

    batch_id: int
    attempt: int
    worker: str
    at: float


class Record(msgspec.Struct):
    """All of it."""

    pushes: dict[str, PushRecord]
    attempts: list[Attempt]
    claims: list[Claim]
    arrivals: list[Arrival]
    waiting_batches: int


def read_record(world: World) -> Record:
    """Read everything; nothing is being sent any more."""
    with psycopg.connect(world.url, application_name="chaos") as connection:
        pushes = _pushes(connection)
        attempts = connection.cursor(row_factory=args_row(_attempt)).execute(
            "select push_id::text, batch_id, provider, attempt, extract(epoch from settled_at)::float8,"
            " coalesce(device_ids::text[], string_to_array(tokens, E'\\n')), positions, outcomes, reasons from outcomes"
        )
        claims = connection.cursor(row_factory=args_row(Claim)).execute(
            "select batch_id, attempt, worker, extract(epoch from at)::float8 from chaos_claims order by at"
        )
        waiting = connection.execute("select count(*) from batches").fetchone()
        return Record(
            pushes={push.uid: push for push in pushes},
            attempts=attempts.fetchall(),
            claims=claims.fetchall(),
            arrivals=read_arrivals(world.arrivals),
            waiting_batches=waiting[0] if waiting else 0,
        )


def _pushes(connection: "psycopg.Connection[tuple[object, ...]]") -> list[PushRecord]:
    found = connection.cursor(row_factory=args_row(PushRecord)).execute(
        "select p.id::text, p.uid, p.state, extract(epoch from p.accepted_at)::float8,"
        " extract(epoch from p.send_at)::float8, extract(epoch from p.planned_at)::float8, p.planned, p.settled,"
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
    """Pushes that are not done, and cancelled ones with something in flight."""
    with psycopg.connect(world.url, application_name="chaos") as connection:
        found = connection.execute(
            "select (select count(*) from pushes where state not in ('done', 'cancelled') or planned <> settled)"
            " + (select count(*) from batches)"
        ).fetchone()
    return int(found[0]) if found else 0


def _attempt(
    push_id: str,
    batch_id: int,
    provider: str,
    attempt: int,
    settled_at: float,
    recipients: list[str],
    positions: list[int],
    outcomes: list[str],
    reasons: list[str],
) -> Attempt:
    ends = {position: (outcome, reason) for position, outcome, reason in zip(positions, outcomes, reasons, strict=True)}
    return Attempt(push_id, batch_id, provider, attempt, settled_at, recipients, ends)
