"""Batches to a push service that are cancelled, given back, cut off: each recipient is reported once."""

import asyncio
import random
from itertools import pairwise

import msgspec
import pytest

from delivery.outcomes import Kind, Outcome
from delivery.providers.webpush import OPTIONS
from delivery.providers.webpush_attempt import WebpushAttempt
from delivery.providers.webpush_sealing import SLICE
from tests.delivery.providers.push_service import (
    PUSH,
    a_push_service,
    provider_of,
    said,
    submit,
)
from tests.delivery.providers.sending import Watched, send

RELEASED = Outcome(Kind.RELEASED, "Released")


async def test_a_cancelled_batch_gives_back_what_is_not_encrypted() -> None:
    async with a_push_service() as service, provider_of() as provider:
        batch = service.batch(200)
        watched = Watched(batch)
        attempt = provider.submit(batch, provider.prepare(msgspec.Raw(PUSH), batch), watched.results)
        attempt.cancel()
        assert watched.results.exceptions == dict.fromkeys(range(200), RELEASED)
        attempt.cancel()
        assert not service.requests
        assert provider.room("") == 2000


async def test_a_batch_cancelled_on_the_way_reports_each_recipient_once() -> None:
    async with a_push_service(streams=10) as service, provider_of(max_connections=1) as provider:
        service.held = []
        batch = service.batch(200)
        watched = Watched(batch)
        attempt = provider.submit(batch, provider.prepare(msgspec.Raw(PUSH), batch), watched.results)
        await service.got(10)
        attempt.cancel()
        assert len(watched.results.exceptions) == 190
        service.release()
        results = await watched.end()
        assert sum(name is not None for name in results.message_ids) == 10
        assert set(results.exceptions.values()) == {RELEASED}


async def test_closing_gives_back_what_waits_and_waits_for_answers() -> None:
    async with a_push_service(streams=10) as service, provider_of(max_connections=1) as provider:
        service.held = []
        watched = submit(provider, service.batch(300))
        late = submit(provider, service.batch(300))
        await service.got(10)
        async with asyncio.TaskGroup() as closing:
            closing.create_task(provider.close(10.0))
            await asyncio.sleep(0)
            service.release()
        first, second = await watched.end(), await late.end()
        assert len(first.exceptions) == 290
        assert set(first.exceptions.values()) | set(second.exceptions.values()) == {RELEASED}


async def test_a_closed_provider_gives_everything_back() -> None:
    async with a_push_service() as service, provider_of() as provider:
        await send(provider, service.batch(), PUSH)
        await provider.close(0.0)
        assert provider.room("") == 0
        assert (await send(provider, service.batch(), PUSH)).exceptions == {0: RELEASED}


async def test_a_service_that_asks_for_less_gets_nothing_more_of_the_batch() -> None:
    async with a_push_service(streams=4) as service, provider_of(max_connections=1) as provider:
        batch = service.batch(500)
        service.answers = [said(429, retry_after="30") for _ in range(500)]
        results = await send(provider, batch, PUSH)
        throttled = [outcome for outcome in results.exceptions.values() if outcome.status == 429]
        assert len(throttled) == len(service.requests) < 20
        assert len(results.exceptions) == 500
        assert set(results.exceptions.values()) - set(throttled) == {RELEASED}


async def test_other_work_goes_on_while_a_batch_is_encrypted() -> None:
    async with a_push_service() as service, provider_of() as provider:
        batch = service.batch(20 * SLICE)
        watched = Watched(batch)
        attempt = provider.submit(batch, provider.prepare(msgspec.Raw(PUSH), batch), watched.results)
        assert isinstance(attempt, WebpushAttempt)
        steps = [attempt.waiting]
        while steps[-1]:
            await asyncio.sleep(0)
            steps.append(attempt.waiting)
        assert max(before - after for before, after in pairwise(steps)) == SLICE
        assert not (await watched.end()).exceptions


async def test_an_urgent_batch_is_encrypted_before_others() -> None:
    async with a_push_service(streams=1) as service, provider_of(max_connections=1) as provider:
        tokens = [service.subscribe("/urgent")]
        normal = submit(provider, service.batch(100))
        urgent = submit(provider, service.batch(tokens=tokens, lane=0))
        await urgent.end()
        assert service.requests[0].path == "/urgent"
        await normal.end()


async def test_a_lost_connection_leaves_what_was_in_flight_unknown() -> None:
    async with a_push_service() as service, provider_of() as provider:
        service.held = []
        watched = submit(provider, service.batch())
        await service.got(1)
        service.connections[0].abort()
        assert (await watched.end()).exceptions == {0: Outcome(Kind.UNKNOWN, "ConnectionLost")}


async def test_a_message_without_an_answer_has_an_unknown_outcome() -> None:
    options = msgspec.structs.replace(OPTIONS, request_timeout=0.2, tick_seconds=0.05)
    async with a_push_service() as service, provider_of(options=options) as provider:
        service.held = []
        assert (await send(provider, service.batch(), PUSH)).exceptions == {0: Outcome(Kind.UNKNOWN, "Timeout")}


async def test_a_defect_of_ours_keeps_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    async with a_push_service() as service, provider_of() as provider:
        batch = service.batch(3)
        batch.tokens[1] = None  # type: ignore[call-overload]
        results = await send(provider, batch, PUSH)
        assert results.exceptions == {1: Outcome(Kind.RETRY, "InternalError")}
        assert "could not be encrypted" in caplog.text


async def test_nothing_secret_is_in_a_repr() -> None:
    async with a_push_service() as service, provider_of() as provider:
        batch = service.batch()
        message = provider.prepare(msgspec.Raw(b'{"payload":"secret"}'), batch)
        attempt = provider.submit(batch, message, Watched(batch).results)
        assert "secret" not in repr(message) + repr(attempt) + repr(provider)
        assert "/push/0" not in repr(attempt)
        attempt.cancel()


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_each_recipient_is_reported_once(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(seed)
    async with a_push_service(streams=7) as service, provider_of(max_connections=2) as provider:
        statuses = [201, 201, 201, 404, 410, 403, 413, 500, 503, *([429] if seed % 2 else [])]
        watched = []
        for number in range(6):
            batch = service.batch(chance.randrange(1, 90), id=number, lane=chance.randrange(3))
            batch.tokens[0] = chance.choice([b"none", batch.tokens[0]])
            service.answers += [said(chance.choice(statuses)) for _ in batch.tokens]
            watched.append(Watched(batch))
            attempt = provider.submit(batch, provider.prepare(msgspec.Raw(PUSH), batch), watched[-1].results)
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            if chance.random() < 0.4:
                attempt.cancel()
            if service.connections and chance.random() < 0.3:
                chance.choice(service.connections).abort()
        if seed > 3:
            await provider.close(0.0)
        for each in watched:
            assert not (await each.end()).remaining
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
