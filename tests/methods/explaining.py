"""What the tests of push_explain share: credentials, devices, pushes, and a queue that is worked off by hand."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from delivery.batches import Results
from delivery.outcomes import Kind, Outcome
from delivery.queues.contract import Claim
from delivery.queues.postgres import PostgresQueue
from methods.context import Context
from methods.explain import PushExplainParams, push_explain
from storage import queue as storage
from storage.database import Database
from storage.ids import new_id
from storage.pushes import accept_devices
from tests.delivery.arranging import new_push

ROOM = {"apns": 10_000, "sandbox": 10_000, "fcm": 10_000}
RETRY_NOW = Outcome(Kind.RETRY, "ServiceUnavailable", 503, retry_after_seconds=0.0)
RETRY_LATER = Outcome(Kind.RETRY, "ServiceUnavailable", 503, retry_after_seconds=300.0)
RELEASED = Outcome(Kind.RELEASED, "Released")

Explain = Callable[[str, str], Awaitable[Any]]


async def add_credentials(database: Database) -> None:
    """APNs in both environments of one app, and FCM."""
    await database.execute(
        b"""insert into credentials (provider_id, provider, is_default, environment, source, settings, secrets) values
            ('apns', 'apns', true, 'production', 'api', '{"bundle_id": "app"}', ''),
            ('sandbox', 'apns', false, 'sandbox', 'api', '{"bundle_id": "app"}', ''),
            ('fcm', 'fcm', true, '', 'api', '{}', '')""",
        {},
    )


async def add_device(database: Database, **columns: object) -> str:
    """Put a device into the table that was registered a minute ago; its id."""
    values = {"id": new_id(), "provider": "apns", "provider_id": "", "state": "active", "age": 60} | columns
    values.setdefault("token", f"token of {values['id']}")
    await database.execute(
        b"insert into devices (id, provider, provider_id, platform, token, state, created_at, updated_at,"
        b" registered_at) select %(id)s, %(provider)s, %(provider_id)s, 'ios', %(token)s, %(state)s, t, t, t"
        b" from (select now() - make_interval(secs => %(age)s)) s (t)",
        values,
    )
    return str(values["id"])


async def push_to(database: Database, *device_ids: str, batch_size: int = 500, **changes: object) -> str:
    """Accept a push to these devices; its uid."""
    request = json.dumps({"recipient": {"device_ids": device_ids}}).encode()
    push = new_push(**{"request": request} | changes)
    assert await accept_devices(database, push, list(device_ids), None, batch_size)
    return push.uid


def a_worker(database: Database, *, lease_seconds: float = 60.0) -> PostgresQueue:
    """The queue as one worker has it."""
    return PostgresQueue(storage.Queue(database, new_id(), lease_seconds))


def finished(claim: Claim, outcomes: Mapping[int, Outcome] | None = None, *, derived: bool = False) -> Results:
    """What comes of a claim: these outcomes by position, accepted for the rest."""
    results = Results(claim.batch, lambda done: None)
    results.derived_ids = derived
    for position in range(len(claim.batch.tokens)):
        if outcomes and position in outcomes:
            results.settled(position, outcomes[position])
        else:
            results.accepted(position, b"id-%d" % position)
    return results


async def work(database: Database, outcome: Outcome | None = None) -> None:
    """Claim whatever is due and settle it with this outcome, or as accepted."""
    worker = a_worker(database)
    claims = await worker.claim(ROOM, [])
    assert claims
    outcomes = dict.fromkeys(range(500), outcome) if outcome else None
    await worker.settle([finished(claim, outcomes) for claim in claims])


def explainer(context: Callable[..., Context]) -> Explain:
    """Return `await explain(uid, device_id)`, which answers the decoded result."""

    async def explain(uid: str, device_id: str) -> Any:
        result = await push_explain(context(), PushExplainParams(uid, device_id))
        return json.loads(msgspec.json.encode(result))

    return explain


def names(answer: Any) -> list[str]:
    """The events by name."""
    return [event["event"] for event in answer["events"]]
