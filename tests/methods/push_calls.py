"""Calls send_push_notification as the door does, and looks at what it leaves: devices before, batches after."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from delivery.planner import Planner, PlannerOptions
from methods.all import TABLE
from methods.context import Context
from methods.errors import ApiError, BadRequestError
from server.validation import decode
from storage.database import Database
from storage.ids import new_id

APNS = {"payload": {"aps": {"alert": "hi"}}}
FCM = {"message": {"notification": {"title": "hi"}}}

Send = Callable[..., Awaitable[Any]]


async def put_credentials(database: Database) -> None:
    """Make a default credential for APNs and one for FCM."""
    await database.execute(
        b"insert into credentials (provider_id, provider, is_default, source, settings, secrets)"
        b" values ('apns', 'apns', true, 'api', '{}', ''), ('fcm', 'fcm', true, 'api', '{}', '')",
        {},
    )


def sender(context: Callable[..., Context]) -> Send:
    """Return `await send(recipient=…, notification=…)`, which answers the decoded result."""

    async def send(method: str = "send_push_notification", **params: object) -> Any:
        body = json.dumps(params).encode()
        declared = TABLE[method]
        return json.loads(msgspec.json.encode(await declared.handler(context(body), decode(declared, body))))

    return send


async def refusal(send: Send, **params: object) -> ApiError:
    """The bad request (107) that sending this to a user is refused with; it says what to change."""
    with pytest.raises(BadRequestError) as caught:
        await send(**({"recipient": {"users": ["ann"]}} | params))
    assert caught.value.detail
    return caught.value


async def add_device(database: Database, token: str, *topics: str, **columns: Any) -> str:
    """Insert an APNs device registered an hour ago, changed as a test needs it; its id."""
    row = {
        "id": new_id(),
        "provider": "apns",
        "platform": "ios",
        "token": token,
        "user_id": "",
        "locale": "",
        "timezone": "",
        "meta": {},
        "provider_id": "",
        "age": 3600,
        **columns,
    }
    await database.execute(
        b"with d as (insert into devices (id, provider, platform, token, user_id, locale, timezone, meta, provider_id,"
        b" created_at, registered_at)"
        b" select id, provider, platform, token, user_id, locale, timezone, meta, provider_id,"
        b" now() - make_interval(secs => age), now() - make_interval(secs => age)"
        b" from jsonb_to_record(%(row)s::jsonb) r (id uuid, provider text, platform text, token text, user_id text,"
        b" locale text, timezone text, meta jsonb, provider_id text, age float8) returning id)"
        b" insert into device_topics (topic, device_id) select t, id from d, unnest(%(topics)s::text[]) t",
        {"row": json.dumps(row), "topics": list(topics)},
    )
    return str(row["id"])


async def planned(database: Database, page_size: int = 7, batch_size: int = 3) -> list[str]:
    """Plan whatever is due; the tokens in the queue, in order, as often as they are there."""
    planner = Planner(database, PlannerOptions(page_size=page_size, batch_size=batch_size), lambda: None)
    while await planner.plan_page():
        pass
    rows = await database.values(b"select unnest(string_to_array(tokens, E'\\n')) from batches order by 1", {})
    return [row[0] for row in rows]


async def built(database: Database) -> dict[str, list[str]]:
    """The providers and tokens that the queue holds."""
    rows = await database.values(b"select provider, string_agg(tokens, ' ') from batches group by 1 order by 1", {})
    return {provider: tokens.split() for provider, tokens in rows}
