"""What the suites of the queue share: pushes in it, what comes of their batches, and what the ledger says."""

from delivery.batches import Results
from delivery.outcomes import Outcome
from delivery.queues.contract import Claim
from storage.database import Database
from storage.ids import new_id
from storage.pushes import accept_raw, status
from tests.delivery.arranging import new_push

ROOM = {"apns": 10_000, "other": 10_000}


async def accept(
    database: Database, *tokens: str, provider_id: str = "", batch_size: int = 500, **changes: object
) -> str:
    """Accept a push to these raw tokens; its uid."""
    push = new_push(**changes)
    raw: dict[str, object] = {"provider": "apns", "provider_id": provider_id, "target": "token", "tokens": list(tokens)}
    assert await accept_raw(database, push, raw, batch_size)
    return push.uid


async def register(database: Database, token: str, **columns: object) -> str:
    """Put a device into the table; its id."""
    values = {"id": new_id(), "token": token, "age": 60, "environment": "", "provider_id": ""} | columns
    await database.execute(
        b"insert into devices (id, provider, provider_id, platform, token, environment, registered_at, created_at)"
        b" values (%(id)s, 'apns', %(provider_id)s, 'ios', %(token)s, %(environment)s,"
        b" now() - make_interval(secs => %(age)s), now() - interval '1 day')",
        values,
    )
    return str(values["id"])


def finished(claim: Claim, outcomes: dict[int, Outcome] | None = None) -> Results:
    """What comes of a claim: these outcomes by position, accepted for the rest."""
    results = Results(claim.batch, lambda done: None)
    for position in range(len(claim.batch.tokens)):
        if outcomes and position in outcomes:
            results.settled(position, outcomes[position])
        else:
            results.accepted(position, b"id-%d" % position)
    return results


async def ledger(database: Database, uid: str) -> dict[str, int]:
    """The ledger of a push without zeros, summed, with what waits in the queue as `queued`."""
    rows = await database.values(
        b"select sum(l.planned)::int, sum(accepted)::int, sum(failed)::int, sum(expired)::int, sum(cancelled)::int,"
        b" sum(suppressed)::int,"
        b" (select sum(recipient_count)::int from batches b where b.push_id = max(p.id::text)::uuid)"
        b" from pushes p join push_ledger l on l.push_id = p.id where p.uid = %(uid)s",
        {"uid": uid},
    )
    names = ("planned", "accepted", "failed", "expired", "cancelled", "suppressed", "queued")
    found = {name: value for name, value in zip(names, rows[0], strict=True) if value}
    assert found.get("planned", 0) == sum(value for name, value in found.items() if name != "planned")
    return found


async def state(database: Database, uid: str) -> str:
    """The push's state."""
    row = await status(database, uid)
    assert row is not None
    return row.state
