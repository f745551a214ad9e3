"""What is told of each recipient to those who follow the record: one event an attempt, one a receipt."""

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping

import msgspec

from delivery.batches import Batch
from delivery.providers.apns_message import message_ids
from storage import feed
from storage.database import Database
from storage.feed import OutcomeRow, ReceiptRow, Span

_GIVEN_BACK = "released"  # it was not tried


class Event(msgspec.Struct, frozen=True, gc=False):
    """What came of one recipient, or what its device reported.

    `id` is its own for ever: an event that is told again has the same. `at` is Unix seconds, `push` the push's uid,
    `device_id` None for raw recipients. Tokens are never told: `token_sha256` (hex of the token's bytes) stands for
    one that was raw or is dead. `status` is the provider's HTTP status, 0 without an answer. A receipt has nothing
    of the provider, and a `push` only where its analytics_uid is that of one push alone.
    """

    id: str
    at: int
    push: str
    analytics_uid: str
    device_id: str | None
    token_sha256: str | None
    provider: str
    provider_id: str
    environment: str
    platform: str
    attempt: int
    outcome: str
    reason: str
    status: int
    message_id: str


class Told(msgspec.Struct):
    """The events of one row of the record, with what its push (JSON) and its credential say about webhooks."""

    events: list[Event]
    webhook: str | None
    credential: str


async def told(database: Database, span: Span, credentials: list[str] | None = None) -> AsyncIterator[Told]:
    """The events of a page, row by row; with `credentials`, only of pushes with a webhook and of these."""
    if span.stream == "receipts":
        for receipt in await feed.receipts(database, span, only_hooked=credentials is not None):
            yield Told([of_receipt(receipt)], receipt.webhook, "")
        return
    rows = await feed.outcomes(database, span, credentials)
    dead = await feed.dead_tokens(database, [device for row in rows for device in _dead_devices(row)])
    for row in rows:
        yield Told(list(of_outcomes(row, dead)), row.webhook, row.credential)


def of_outcomes(row: OutcomeRow, dead: Mapping[str, str]) -> Iterator[Event]:
    """The events of a batch; `dead` are the hashes of dead devices' tokens, by device."""
    tokens = row.tokens.split(b"\n") if row.device_ids is None and row.tokens is not None else None
    devices = row.device_ids
    count = len(devices or tokens or ())
    exceptions = {
        position: (outcome, reason, status)
        for position, outcome, reason, status in zip(
            row.positions, row.outcomes, row.reasons, row.statuses, strict=True
        )
    }
    names = _names(row, count)
    for position in range(count):
        outcome, reason, status = exceptions.get(position, ("accepted", "", 200))
        if outcome == _GIVEN_BACK:
            continue
        device = devices[position] if devices is not None else None
        yield Event(
            id=f"{row.batch_id}-{row.attempt}-{position}",
            at=row.at,
            push=row.uid,
            analytics_uid=row.analytics_uid,
            device_id=device,
            token_sha256=_digest(tokens[position]) if tokens else dead.get(device or "") if outcome == "dead" else None,
            provider=row.provider,
            provider_id=row.credential,
            environment=row.environment,
            platform=row.platform,
            attempt=row.attempt,
            outcome=outcome,
            reason=reason,
            status=status,
            message_id=names.get(position, ""),
        )


def of_receipt(row: ReceiptRow) -> Event:
    """The event of what a device reported."""
    return Event(
        id=f"r{row.id}",
        at=row.at,
        push=row.uid,
        analytics_uid=row.analytics_uid,
        device_id=row.device_id or None,
        token_sha256=None,
        provider="",
        provider_id="",
        environment="",
        platform="",
        attempt=0,
        outcome=row.status,
        reason="",
        status=0,
        message_id=row.msg_id,
    )


def _dead_devices(row: OutcomeRow) -> Iterator[str]:
    if row.device_ids is not None:
        for position, outcome in zip(row.positions, row.outcomes, strict=True):
            if outcome == "dead":
                yield row.device_ids[position]


def _names(row: OutcomeRow, count: int) -> dict[int, str]:
    """The provider's ids of the accepted ones, by position: stored in order, or derived as the sender did."""
    refused = set(row.positions)
    accepted = [position for position in range(count) if position not in refused]
    if row.message_ids:
        stored = row.message_ids.decode(errors="replace").split("\n")
        return dict(zip(accepted, stored, strict=True)) if len(stored) == len(accepted) else {}
    if row.provider != "apns" or count < 2:
        return {}
    derived = message_ids(_batch(row, count))
    return {position: derived[position].decode() for position in accepted}


def _batch(row: OutcomeRow, count: int) -> Batch:
    """The batch as far as its message ids follow from it."""
    return Batch(
        id=row.batch_id,
        push_id=row.push_id,
        provider=row.provider,
        credential=row.credential,
        environment=row.environment,
        scope="",
        target="token",
        lane=0,
        attempt=row.attempt,
        first_attempt_at=0.0,
        claimed_at=0.0,
        expire_at=None,
        at_most_once=False,
        abandoned=False,
        tokens=[b""] * count,
    )


def _digest(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()
