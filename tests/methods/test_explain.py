"""push_explain: what it says of a device that was sent to, waits, or was never planned."""

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from delivery.outcomes import Kind, Outcome, Pause
from delivery.planner import Planner, PlannerOptions
from delivery.providers.apns_message import message_ids
from methods.context import Context
from methods.errors import BadRequestError, NotFoundError
from methods.recipients import Recipient, resolve
from storage import pushes
from storage.database import Database
from storage.ids import new_id
from tests.delivery.arranging import new_push
from tests.methods.explaining import (
    RELEASED,
    RETRY_LATER,
    RETRY_NOW,
    ROOM,
    Explain,
    a_worker,
    add_credentials,
    add_device,
    explainer,
    finished,
    names,
    push_to,
    work,
)

_DEAD = Outcome(Kind.DEAD, "Unregistered", 410, proof_at=4e9)
_BAD_TOKEN = Outcome(Kind.DEAD, "BadDeviceToken", 400, proof_at=4e9)


@pytest.fixture
async def explain(database: Database, context: Callable[..., Context]) -> Explain:
    """What calls the method; there are credentials."""
    await add_credentials(database)
    return explainer(context)


async def test_what_was_accepted_is_told_with_its_attempt(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    uid = await push_to(database, device)
    await work(database)
    answer = await explain(uid, device)
    assert (answer["verdict"], names(answer)) == ("accepted", ["accepted", "planned", "attempt"])
    attempt = answer["events"][-1]
    assert abs(attempt["at"] - time.time()) < 60
    assert {name: attempt[name] for name in ("attempt", "outcome", "provider", "provider_id", "environment")} == {
        "attempt": 1,
        "outcome": "accepted",
        "provider": "apns",
        "provider_id": "apns",
        "environment": "production",
    }
    assert attempt["message_id"] == "id-0"


async def test_an_id_that_was_not_stored_is_the_one_that_apns_was_told(database: Database, explain: Explain) -> None:
    devices = [await add_device(database) for _ in range(3)]
    uid = await push_to(database, *devices)
    worker = a_worker(database)
    [claim] = await worker.claim(ROOM, [])
    told = message_ids(claim.batch)
    await worker.settle([finished(claim, derived=True)])
    found = [(await explain(uid, device))["events"][-1]["message_id"].encode() for device in devices]
    assert sorted(found) == sorted(told)


async def test_a_refusal_is_told_with_reason_and_status(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    uid = await push_to(database, device)
    await work(database, Outcome(Kind.FAILED, "PayloadTooLarge", 413))
    answer = await explain(uid, device)
    assert (answer["verdict"], answer["reason"]) == ("failed", "PayloadTooLarge")
    assert answer["events"][-1]["status"] == 413


async def test_a_dead_token_is_a_failure(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    uid = await push_to(database, device)
    await work(database, _DEAD)
    answer = await explain(uid, device)
    assert (answer["verdict"], answer["reason"]) == ("failed", "Unregistered")
    assert answer["events"][-1]["outcome"] == "dead"


async def test_every_attempt_is_told_in_order(database: Database, explain: Explain) -> None:
    device, other = await add_device(database), await add_device(database)
    uid = await push_to(database, device, other)
    await work(database, RETRY_NOW)
    await work(database, RELEASED)
    await work(database)
    answer = await explain(uid, device)
    assert names(answer) == ["accepted", "planned", "attempt", "released", "attempt"]
    assert [event.get("outcome") for event in answer["events"]] == [None, None, "retry", None, "accepted"]
    assert [event.get("attempt") for event in answer["events"]] == [None, None, 1, 2, 2]
    assert answer["verdict"] == "accepted"


async def test_what_waits_for_its_next_attempt_is_pending_until_then(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    uid = await push_to(database, device)
    await work(database, RETRY_LATER)
    answer = await explain(uid, device)
    assert (answer["verdict"], answer["reason"]) == ("pending", "ServiceUnavailable")
    waiting = answer["events"][-1]
    assert waiting["event"] == "waiting"
    assert 200 < waiting["until"] - time.time() < 400


async def test_what_is_in_flight_is_pending(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    uid = await push_to(database, device)
    await a_worker(database).claim(ROOM, [])
    answer = await explain(uid, device)
    assert (answer["verdict"], names(answer)) == ("pending", ["accepted", "planned", "in_flight"])


async def test_an_attempt_whose_sender_died_is_told(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    uid = await push_to(database, device)
    await a_worker(database, lease_seconds=0.0).claim(ROOM, [])
    assert "another one takes it up" in (await explain(uid, device))["detail"]
    await work(database)
    answer = await explain(uid, device)
    assert names(answer) == ["accepted", "planned", "abandoned", "attempt"]
    assert answer["events"][-1]["attempt"] == 2


async def test_a_second_try_in_the_other_environment_is_told(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    uid = await push_to(database, device)
    await work(database, _BAD_TOKEN)
    waiting = await explain(uid, device)
    assert names(waiting) == ["accepted", "planned", "attempt", "second_try", "waiting"]
    assert waiting["verdict"] == "pending"
    await work(database)
    answer = await explain(uid, device)
    assert names(answer) == ["accepted", "planned", "attempt", "second_try", "attempt"]
    assert answer["events"][-1]["environment"] == "sandbox"
    assert answer["verdict"] == "accepted"


async def test_what_was_cancelled_before_it_was_sent_is_cancelled(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    uid = await push_to(database, device)
    await pushes.cancel(database, uid)
    answer = await explain(uid, device)
    assert (answer["verdict"], names(answer)) == ("cancelled", ["accepted", "cancelled"])


async def test_what_was_cancelled_between_two_attempts_is_cancelled(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    uid = await push_to(database, device)
    await work(database, RETRY_LATER)
    await pushes.cancel(database, uid)
    answer = await explain(uid, device)
    assert (answer["verdict"], names(answer)) == ("cancelled", ["accepted", "planned", "attempt", "cancelled"])


async def test_what_expired_is_expired(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    uid = await push_to(database, device, expire_at=time.time() + 100)
    await work(database, RETRY_LATER)
    answer = await explain(uid, device)
    assert (answer["verdict"], names(answer)[-1]) == ("expired", "expired")


async def test_a_device_that_left_before_the_second_attempt_is_suppressed(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    uid = await push_to(database, device)
    worker = a_worker(database)
    claims = await worker.claim(ROOM, [])
    await database.execute(b"delete from devices", {})
    await worker.settle([finished(claim, {0: RETRY_NOW}) for claim in claims])
    answer = await explain(uid, device)
    assert answer["verdict"] == "suppressed"
    assert "removed" in answer["detail"]


async def test_what_planning_left_out_is_told_with_its_reason(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    uid = await push_to(database, device, providers=["fcm"])
    await database.execute(
        b"insert into outcomes (push_id, batch_id, provider, credential, environment, attempt, started_at, device_ids,"
        b" message_ids, positions, outcomes, reasons, statuses)"
        b" select id, 0, 'apns', '', '', 0, now(), array[%(device)s::uuid], '', '{0}', '{suppressed}', '{TopicMuted}',"
        b" '{0}' from pushes",
        {"device": device},
    )
    answer = await explain(uid, device)
    assert (answer["verdict"], answer["reason"]) == ("suppressed", "TopicMuted")
    assert names(answer) == ["accepted", "suppressed"]


async def test_a_device_that_is_to_be_left_alone_is_held(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    await database.execute(b"update devices set hold_until = now() + interval '5 minutes'", {})
    uid = await push_to(database, device)
    answer = await explain(uid, device)
    held = answer["events"][-1]
    assert (answer["verdict"], held["event"]) == ("pending", "held")
    assert "429" in held["detail"]
    assert 200 < held["until"] - time.time() < 400


async def test_a_limit_of_the_push_holds_and_drops(database: Database, explain: Explain) -> None:
    device, other = await add_device(database), await add_device(database)
    uid = await push_to(database, device, other, batch_size=1)
    held = Outcome(Kind.HELD, "OutsideWindow", due_at=time.time() + 300)
    dropped = Outcome(Kind.DROPPED, "RateLimited")
    worker = a_worker(database)
    claims = await worker.claim(ROOM, [])
    first = claims[0].batch.tokens[0].decode().removeprefix("token of ")
    await worker.settle([finished(claims[0], {0: held}), finished(claims[1], {0: dropped})])
    waits = await explain(uid, first)
    assert (waits["verdict"], names(waits)) == ("pending", ["accepted", "planned", "held", "held"])
    assert waits["events"][-1]["until"] > time.time()
    left = await explain(uid, device if first == other else other)
    assert (left["verdict"], left["reason"]) == ("dropped", "RateLimited")


async def test_pauses_are_told_with_their_reason(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    uid = await push_to(database, device)
    await a_worker(database).pause("apns", Pause("trouble"), "InvalidProviderToken", version=None, again=False)
    answer = await explain(uid, device)
    paused = answer["events"][-1]
    assert (answer["verdict"], paused["event"], paused["reason"]) == ("pending", "paused", "InvalidProviderToken")
    assert paused["until"] > paused["at"] > 0
    await pushes.pause(database, uid)
    assert (await explain(uid, device))["detail"] == "the push is paused"


async def test_what_the_device_reported_is_told(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    uid = await push_to(database, device, analytics_uid="a")
    await work(database)
    for status in ("delivered", "interacted"):
        await pushes.record_receipt(database, "a", status, device, "m")
    assert names(await explain(uid, device))[-2:] == ["delivered", "interacted"]


async def _accept(database: Database, recipient: dict[str, Any], **changes: object) -> str:
    """Accept a push that is planned later; its uid."""
    given = {name: value for name, value in changes.items() if name != "send_at"}
    push = new_push(request=json.dumps({"recipient": recipient}).encode(), **given)
    text = msgspec.json.encode(resolve(msgspec.convert(recipient, Recipient)).audience).decode()
    send_at = changes.get("send_at")
    assert await pushes.accept_planned(database, push, text, send_at if isinstance(send_at, float) else None)
    return push.uid


async def _topic(database: Database, topic: str, *devices: str) -> None:
    await database.execute(
        b"insert into device_topics select %(topic)s, unnest(%(ids)s::uuid[])", {"topic": topic, "ids": list(devices)}
    )


async def _plan(database: Database, **options: int) -> None:
    while await Planner(database, PlannerOptions(**options), lambda: None).plan_page():
        pass


async def test_the_topics_that_the_device_has_now_are_told(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    await _topic(database, "news", device)
    await _topic(database, "other", device)
    uid = await _accept(database, {"channels": ["news", "sport"]})
    await _plan(database)
    await work(database)
    answer = await explain(uid, device)
    assert answer["verdict"] == "accepted"
    assert answer["events"][0]["topics"] == ["news"]
    assert "addressed by channels" in answer["events"][0]["detail"]


async def test_a_device_is_found_on_whatever_page_it_was(database: Database, explain: Explain) -> None:
    devices = [await add_device(database) for _ in range(7)]
    await _topic(database, "news", *devices)
    uid = await _accept(database, {"channels": ["news"]})
    await _plan(database, page_size=2, batch_size=1)
    await work(database)
    assert [(await explain(uid, device))["verdict"] for device in devices] == ["accepted"] * 7


async def test_a_device_that_planning_has_not_come_to_is_pending(database: Database, explain: Explain) -> None:
    devices = sorted([await add_device(database) for _ in range(4)])
    await _topic(database, "news", *devices)
    uid = await _accept(database, {"channels": ["news"]})
    assert await Planner(database, PlannerOptions(page_size=2), lambda: None).plan_page()
    await work(database)
    found = [await explain(uid, device) for device in devices]
    assert [answer["verdict"] for answer in found] == ["accepted", "accepted", "pending", "pending"]
    assert found[3]["detail"] == "planning has not come to this device yet"
    await pushes.cancel(database, uid)
    answer = await explain(uid, devices[3])
    assert (answer["verdict"], answer["detail"]) == ("cancelled", "the push was cancelled before it was planned")


async def test_a_scheduled_push_is_pending(database: Database, explain: Explain) -> None:
    device = await add_device(database)
    uid = await _accept(database, {"device_ids": [device]}, send_at=time.time() + 300)
    answer = await explain(uid, device)
    assert (answer["verdict"], answer["detail"]) == ("pending", "the push is scheduled")
    assert names(answer) == ["accepted", "scheduled"]


@pytest.mark.parametrize(
    ("columns", "verdict", "reason"),
    [
        ({"age": -5}, "not_matched", "RegisteredLater"),
        ({"state": "dead"}, "inactive", None),
        ({"provider": "fcm"}, "skipped", "NoPayload"),
        ({"provider_id": "gone"}, "skipped", "NoCredential"),
    ],
)
async def test_why_a_device_was_not_planned(
    database: Database, explain: Explain, columns: dict[str, object], verdict: str, reason: str | None
) -> None:
    device, other = await add_device(database, **columns), await add_device(database)
    await _topic(database, "news", device, other)
    uid = await _accept(database, {"channels": ["news"]})
    await _plan(database)
    await work(database)
    answer = await explain(uid, device)
    assert (answer["verdict"], answer.get("reason"), names(answer)) == (verdict, reason, ["accepted"])


async def test_a_device_that_does_not_match_is_told_so(database: Database, explain: Explain) -> None:
    device, other = await add_device(database), await add_device(database)
    await _topic(database, "news", other)
    uid = await _accept(database, {"channels": ["news"]})
    await _plan(database)
    answer = await explain(uid, device)
    assert (answer["verdict"], answer["detail"]) == (
        "not_matched",
        "it has none of the channels of the push, as things are now",
    )
    await _topic(database, "news", device)
    later = await explain(uid, device)
    assert later["verdict"] == "not_matched"
    assert "when the push was planned" in later["detail"]


@pytest.mark.parametrize(
    ("recipient", "matching"),
    [
        ({"filter": {"all": True}}, True),
        ({"filter": {"all": True, "exclude": {"topics": ["news"]}}}, False),
        ({"filter": {"topics": ["news"], "platforms": ["ios"]}}, True),
        ({"filter": {"topics": ["sport"], "platforms": ["ios"]}}, False),
        ({"filter": {"topics": ["news"], "platforms": ["android"]}}, False),
        ({"filter": {"platforms": ["ios"], "condition": "!('sport' in topics)"}}, True),
        ({"filter": {"last_active_within_s": 1000}}, True),
        ({"filter": {"last_active_within_s": 5}}, False),
        ({"condition": "'news' in topics && !('sport' in topics)"}, True),
        ({"condition": "'news' in topics && 'sport' in topics"}, False),
        ({"users": ["somebody"]}, False),
        ({"device_ids": ["00000000-0000-7000-8000-000000000000"]}, False),
    ],
)
async def test_whatever_the_recipient_is_a_device_matches_as_planning_would_find_it(
    database: Database, explain: Explain, recipient: dict[str, Any], matching: bool
) -> None:
    device = await add_device(database)
    await _topic(database, "news", device)
    uid = await _accept(database, recipient)
    before = await explain(uid, device)
    assert before["verdict"] == ("pending" if matching else "not_matched")
    await _plan(database)
    after = await explain(uid, device)
    assert names(after) == (["accepted", "planned", "waiting"] if matching else ["accepted"])


async def test_several_reasons_are_all_told(database: Database, explain: Explain) -> None:
    device, other = await add_device(database, provider="fcm", state="failing"), await add_device(database)
    uid = await push_to(database, other)
    answer = await explain(uid, device)
    assert [answer["verdict"], *(each["verdict"] for each in answer["also"])] == ["inactive", "skipped", "not_matched"]


async def test_a_device_that_is_not_there_is_unknown(database: Database, explain: Explain) -> None:
    uid = await push_to(database, await add_device(database))
    answer = await explain(uid, new_id())
    assert answer["verdict"] == "unknown_device"


async def test_outcomes_past_retention_are_not_taken_for_a_mismatch(database: Database, explain: Explain) -> None:
    device = await add_device(database, age=864_000)
    uid = await push_to(database, device)
    await work(database)
    await database.execute(b"delete from outcomes", {})
    await database.execute(b"update pushes set planned_at = now() - interval '9 days', accepted_at = planned_at", {})
    await database.execute(b"select ensure_outcome_partitions(1)", {})
    answer = await explain(uid, device)
    assert answer["verdict"] == "unknown"
    assert "older than the outcomes" in answer["detail"]


async def test_a_raw_token_that_a_device_has_is_told_without_the_token(database: Database, explain: Explain) -> None:
    device, other = await add_device(database, token="ab12"), await add_device(database, token="cd34")
    request = json.dumps({"recipient": {"apns_tokens": ["ab12", "ef56"]}}).encode()
    raw: dict[str, object] = {"provider": "apns", "provider_id": "", "target": "token", "tokens": ["ab12", "ef56"]}
    push = new_push(request=request)
    assert await pushes.accept_raw(database, push, raw, 500)
    assert (await explain(push.uid, device))["verdict"] == "pending"
    await work(database, Outcome(Kind.FAILED, "BadTopic", 400))
    answer = await explain(push.uid, device)
    assert (answer["verdict"], answer["reason"]) == ("failed", "BadTopic")
    assert "ab12" not in json.dumps(answer)
    assert (await explain(push.uid, other))["verdict"] == "not_matched"


@pytest.mark.parametrize(
    ("uid", "device", "error"), [("none", new_id(), NotFoundError), ("none", "x", BadRequestError)]
)
async def test_what_is_unknown_or_malformed_is_an_error(
    explain: Explain, uid: str, device: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await explain(uid, device)
