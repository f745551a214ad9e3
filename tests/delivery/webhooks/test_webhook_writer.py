"""Which events are told to which webhook."""

import msgspec
import pytest

from delivery.webhooks.hooks import OutcomeWebhook, WebhookError, credential_parts, push_hook
from delivery.webhooks.writer import MOST_EVENTS
from storage.database import Database
from storage.vault import Vault
from tests.delivery.recording import Exceptions, add_outcome, add_push, add_receipt, device
from tests.delivery.webhooks.telling import SECRET, Teller

URL = "https://app.example/outcomes"
MIXED: Exceptions = {
    0: ("failed", "TooBig", 413),
    1: ("dead", "UNREGISTERED", 404),
    2: ("retry", "Timeout", 0),
    3: ("expired", "Expired", 0),
    4: ("cancelled", "Cancelled", 0),
    5: ("suppressed", "", 0),
    6: ("dropped", "", 0),
    7: ("released", "Released", 0),
}
NINE = [device(number) for number in range(9)]


async def written(database: Database) -> list[tuple[str, str, list[str]]]:
    """The deliveries: URL, credential, and the outcomes of their events."""
    rows = await database.values(b"select url, credential, body, events from webhook_deliveries order by id", {})
    found = []
    for url, credential, body, count in rows:
        events = msgspec.json.decode(body)["events"]
        assert len(events) == count
        found.append((url, credential, [event["outcome"] for event in events]))
    return found


async def test_everything_final_is_told_unless_something_else_is_asked_for(database: Database, teller: Teller) -> None:
    push_id = await add_push(database, "p", webhook=teller.hook(URL))
    await add_outcome(database, 1, push_id=push_id, devices=NINE, exceptions=MIXED)
    await teller.write()
    final = ["failed", "dead", "expired", "cancelled", "suppressed", "dropped", "accepted"]
    assert await written(database) == [(URL, "", final)]
    assert teller.woken == 1


async def test_a_push_may_choose_what_is_told(database: Database, teller: Teller) -> None:
    push_id = await add_push(database, "p", webhook=teller.hook(URL, outcomes=["retry", "dead"]))
    await add_outcome(database, 1, push_id=push_id, devices=NINE, exceptions=MIXED)
    await add_outcome(database, 2, push_id=push_id)
    await teller.write()
    assert await written(database) == [(URL, "", ["dead", "retry"])]


async def test_what_nobody_wants_told_is_written_nowhere(database: Database, teller: Teller) -> None:
    await add_outcome(database, 1, push_id=await add_push(database, "p"))
    await add_receipt(database, "a")
    await teller.write()
    assert await written(database) == []


async def test_a_credential_tells_of_all_its_pushes(database: Database, teller: Teller) -> None:
    await teller.put_credential("ours", URL, outcomes=["accepted"])
    await add_outcome(database, 1, credential="ours", push_id=await add_push(database, "p"))
    await add_outcome(database, 2, credential="theirs", push_id=await add_push(database, "q"))
    await teller.write()
    assert await written(database) == [(URL, "ours", ["accepted"])]


async def test_push_and_credential_are_both_told(database: Database, teller: Teller) -> None:
    await teller.put_credential("ours", "https://ops.example/")
    push_id = await add_push(database, "p", webhook=teller.hook(URL))
    await add_outcome(database, 1, credential="ours", push_id=push_id)
    await teller.write()
    assert sorted((url, credential) for url, credential, _ in await written(database)) == [
        (URL, ""),
        ("https://ops.example/", "ours"),
    ]


async def test_what_devices_report_is_told_to_their_push(database: Database, teller: Teller) -> None:
    await add_push(database, "p", analytics_uid="a", webhook=teller.hook(URL))
    await add_receipt(database, "a", "delivered")
    await add_receipt(database, "b", "delivered")
    await teller.write()
    assert await written(database) == [(URL, "", ["delivered"])]


async def test_events_are_told_in_batches(database: Database, teller: Teller) -> None:
    push_id = await add_push(database, "p", webhook=teller.hook(URL))
    devices = [device(number) for number in range(MOST_EVENTS)]
    await add_outcome(database, 1, push_id=push_id, devices=devices)
    await add_outcome(database, 2, push_id=push_id)
    await teller.write()
    assert [len(outcomes) for _, _, outcomes in await written(database)] == [MOST_EVENTS, 1]


async def test_whoever_writes_them_deliveries_are_written_once(database: Database, teller: Teller) -> None:
    push_id = await add_push(database, "p", webhook=teller.hook(URL))
    for batch in range(1, 4):
        await add_outcome(database, batch, push_id=push_id)
        await teller.write()
        await teller.write()
    assert len(await written(database)) == 3


async def test_a_webhook_that_cannot_be_read_holds_nothing_up(
    database: Database, teller: Teller, caplog: pytest.LogCaptureFixture
) -> None:
    await add_outcome(database, 1, push_id=await add_push(database, "p", webhook='{"link": 1}'))
    await add_outcome(database, 2, push_id=await add_push(database, "q", webhook=teller.hook(URL)))
    await teller.write()
    assert await written(database) == [(URL, "", ["accepted"])]
    assert "the webhook of a push cannot be read" in caplog.messages


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://app.example/", "a URL is expected"),
        ("https://", "a URL is expected"),
        ("https://app.example:0/", "a URL is expected"),
        ("https://app.example:99999/", "a URL is expected"),
        ("/outcomes", "a URL is expected"),
        ("https://app.example/a b", "a URL is expected"),
        ("https://bücher.example/", "a URL is expected"),
        ("https://user:password@app.example/", "no user"),
        ("https://app.example/#part", "no fragment"),
    ],
)
def test_a_url_that_is_none_is_refused(url: str, told: str) -> None:
    with pytest.raises(WebhookError, match="url: ") as refused:
        OutcomeWebhook(url).check()
    assert told.split()[-1] in refused.value.detail
    with pytest.raises(WebhookError, match="outcome_url: "):
        credential_parts(url, None, None)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ((None, SECRET, None), "outcome_secret"),
        ((None, None, ["dead"]), "outcome_kinds"),
        ((URL, "short", None), "outcome_secret"),
        ((URL, None, []), "outcome_kinds"),
        ((URL, None, ["lost"]), "outcome_kinds"),
    ],
)
def test_the_fields_of_a_credential_are_checked(
    given: tuple[str | None, str | None, list[str] | None], path: str
) -> None:
    with pytest.raises(WebhookError) as refused:
        credential_parts(*given)
    assert refused.value.path == path


def test_secrets_are_kept_sealed_and_never_shown(vault: Vault) -> None:
    hook = OutcomeWebhook(URL, SECRET)
    hook.check()
    stored = hook.stored(vault)
    assert SECRET not in stored + repr(hook) + repr(push_hook(stored))
    assert push_hook(stored).url == URL
    assert credential_parts(URL, SECRET, ["dead"]) == (
        {"outcome_url": URL, "outcome_kinds": ["dead"]},
        {"outcome_secret": SECRET},
    )
