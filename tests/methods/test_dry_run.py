"""A dry run: who would get what, and what is wrong with it; nothing is kept of it."""

from collections.abc import Callable
from typing import Any

import pytest

from methods.context import Context
from storage.database import Database
from tests.methods.push_calls import APNS, Send, add_device, put_credentials, refusal, sender

TABLES = ("pushes", "batches", "push_ledger", "push_reasons", "push_paces", "rate_limits", "outcomes")
NEWS = {"channels": ["news"]}
ALERT = {"title": "hi"}
MIDNIGHT = 4_000_060_800
WINDOW = {"time_limit": {"send_after_time": "09:00:00", "send_before_time": "09:00:01"}}


@pytest.fixture
async def send(context: Callable[..., Context], database: Database) -> Send:
    await put_credentials(database)
    return sender(context)


@pytest.fixture
async def tried(send: Send, database: Database) -> Send:
    """A dry run of a push to the topic news; checked to leave nothing behind."""

    async def run(**params: object) -> Any:
        answer = await send(**({"recipient": NEWS, "notification": ALERT} | params), dry_run=True)
        assert answer.pop("dry_run")
        for table in TABLES:
            assert await database.values(b"select 1 from " + table.encode(), {}) == [], table
        return answer

    return run


async def test_the_audience_is_counted_by_provider_and_platform(tried: Send, database: Database) -> None:
    for number in range(5):
        await add_device(database, f"a{number}", "news", "sport")
    for number in range(3):
        await add_device(database, f"b{number}", "news", provider="fcm", platform="android")
    await add_device(database, "cc", "sport")
    for recipient in (
        NEWS,
        {"condition": "'news' in topics"},
        {"condition": "!('sport' in topics) || 'news' in topics"},
        {"filter": {"topics": ["news", "sport"], "exclude": {"tokens": ["cc"]}}},
    ):
        found = await tried(recipient=recipient)
        assert found["audience"] == [
            {"provider": "apns", "platform": "ios", "recipients": 5},
            {"provider": "fcm", "platform": "android", "recipients": 3},
        ]
        assert "problems" not in found


@pytest.mark.parametrize("form", ["device_ids", "users", "many"])
async def test_devices_and_users_are_counted_though_they_would_be_sent_to_at_once(
    tried: Send, database: Database, form: str
) -> None:
    device = await add_device(database, "aa", user_id="ann")
    recipient = {"device_ids": [device]} if form == "device_ids" else {"users": ["ann"]}
    if form == "many":
        recipient = {"users": ["ann", *map(str, range(600))]}
    found = await tried(recipient=recipient)
    assert found["audience"] == [{"provider": "apns", "platform": "ios", "recipients": 1}]


async def test_large_audiences_are_counted_page_by_page(
    tried: Send, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("methods.trial._PAGE", 7)
    for number in range(30):
        provider = ("apns", "fcm")[number % 2]
        await add_device(database, f"{number:02x}", "news", "sport", provider=provider)
    for recipient in ({"channels": ["news", "sport"]}, {"filter": {"all": True}}):
        found = await tried(recipient=recipient)
        assert [part["recipients"] for part in found["audience"]] == [15, 15]


async def test_who_would_be_skipped_is_counted_with_the_reason(tried: Send, database: Database) -> None:
    await add_device(database, "aa", "news")
    await add_device(database, "bb", "news", provider_id="gone")
    await add_device(database, "cc", "news", provider="fcm", platform="android")
    found = await tried(notification={"apns": APNS})
    assert found["audience"] == [
        {"provider": "apns", "platform": "ios", "recipients": 1},
        {"provider": "apns", "platform": "ios", "recipients": 1, "skipped": "NoCredential"},
        {"provider": "fcm", "platform": "android", "recipients": 1, "skipped": "NoPayload"},
    ]
    assert [(each["provider"], each["recipients"]) for each in found["problems"]] == [("apns", 1), ("fcm", 1)]
    assert [message["provider"] for message in found["messages"]] == ["apns"]


async def test_the_first_message_is_rendered_for_a_device_of_each_provider(tried: Send, database: Database) -> None:
    device = await add_device(database, "aa", "news", locale="de", meta={"name": 'A"n"n 🎉'}, user_id="ann")
    await add_device(database, "bb", "news", provider="fcm", platform="android", locale="fr")
    found = await tried(
        uid="campaign 7",
        notification={"title": "{{l10n.hi}} {{device.meta.name | default('you')}}", "data": {"p": "{{push.uid}}"}},
        localizations={
            "de": {"translations": {"hi": "Hallo"}},
            "default": {"translations": {"hi": "Hi"}},
        },
        use_meta=True,
    )
    apns, fcm = found["messages"]
    assert apns["device_id"] == device
    assert apns["notification"]["payload"] == {"aps": {"alert": {"title": 'Hallo A"n"n 🎉'}}, "p": "campaign 7"}
    assert fcm["notification"]["message"]["notification"] == {"title": "Hi you"}
    assert (found["uid"], found.get("problems")) == ("campaign 7", None)


async def test_a_device_would_get_a_receipt_token_and_a_raw_token_none(tried: Send, database: Database) -> None:
    await add_device(database, "aa", "news")
    notification = {"title": "hi", "data": {"receipt": "{{receipt_token}}"}}
    found = await tried(notification=notification, use_templating=True)
    assert found["messages"][0]["notification"]["payload"]["receipt"]
    found = await tried(recipient={"apns_tokens": ["ff"]}, notification=notification, use_templating=True)
    [problem] = found["problems"]
    assert problem["detail"] == "TemplateValueMissing: no value for receipt_token"


async def test_raw_recipients_are_counted(tried: Send) -> None:
    found = await tried(recipient={"apns_tokens": ["aa", "AA", "bb"]})
    assert found["audience"] == [{"provider": "apns", "recipients": 2}]
    assert [message["provider"] for message in found["messages"]] == ["apns"]
    assert (await tried(recipient={"fcm_topic": "news"}))["audience"] == [{"provider": "fcm", "recipients": 1}]


async def test_what_only_the_credential_adds_is_in_the_message(tried: Send, database: Database) -> None:
    await database.execute(
        b"update credentials set settings = '{\"include_notification\": false}' where provider = 'fcm'", {}
    )
    await add_device(database, "bb", "news", provider="fcm", platform="android")
    [message] = (await tried())["messages"]
    assert message["notification"]["message"]["data"] == {"title": "hi"}
    assert "notification" not in message["notification"]["message"]


async def test_a_missing_localization_is_a_problem(tried: Send, database: Database) -> None:
    await add_device(database, "aa", "news", locale="de")
    texts = {"de": {"translations": {"hi": "Hallo"}}}
    found = await tried(notification={"title": "{{l10n.hi}} {{l10n.bye | default('x')}}"}, localizations=texts)
    assert [each["detail"] for each in found["problems"]] == ["no localization says what l10n.bye is"]
    found = await tried(notification={"title": "{{l10n.bye}}"}, localizations=texts)
    assert found["problems"][0]["detail"] == "TemplateValueMissing: no value for l10n.bye"


async def test_a_message_that_its_values_make_too_large_is_a_problem(tried: Send, database: Database) -> None:
    await add_device(database, "aa", "news", meta={"text": "x" * 4100})
    notification = {"apns": {"payload": {"aps": {"alert": "{{device.meta.text}}"}}}}
    found = await tried(notification=notification, use_templating=True, use_meta=True)
    [problem] = found["problems"]
    assert (problem["path"], problem["provider"]) == ("notification.apns.payload", "apns")
    assert "4096" in problem["detail"]


async def test_a_message_too_large_for_a_topic_is_a_problem(tried: Send) -> None:
    notification = {"fcm": {"message": {"data": {"id": "{{push.uid}}", "a": "x" * 1990}}}}
    given = {"recipient": {"fcm_topic": "news"}, "notification": notification, "use_templating": True}
    [problem] = (await tried(**given, uid="u" * 100))["problems"]
    assert "2048" in problem["detail"]


async def test_a_paused_credential_is_a_problem(tried: Send, database: Database) -> None:
    await add_device(database, "aa", "news")
    await database.execute(
        b"insert into pauses values ('apns', '', 'trouble', 'InvalidProviderToken', now(), 1, now())", {}
    )
    [problem] = (await tried())["problems"]
    assert (problem["provider_id"], problem["detail"]) == ("apns", "sending is paused: InvalidProviderToken")


async def test_nobody_is_a_problem(tried: Send) -> None:
    found = await tried()
    assert found == {"problems": [{"detail": "nobody would get it", "path": "recipient"}]}


async def test_a_first_recipient_without_a_time_zone_or_outside_the_window_is_a_problem(
    tried: Send, database: Database
) -> None:
    await add_device(database, "aa", "news")
    [problem] = (await tried(limit_strategy=WINDOW))["problems"]
    assert problem["detail"] == "the first recipient has no time zone, and would be dropped"
    await database.execute(b"update devices set timezone = 'Etc/UTC'", {})
    [problem] = (await tried(limit_strategy=WINDOW, send_at=MIDNIGHT))["problems"]
    assert problem["detail"] == "the first recipient's window opens 32400 seconds after the push is due"
    assert "problems" not in await tried(limit_strategy=WINDOW, send_at=MIDNIGHT + 32_400)


async def test_a_dry_run_is_refused_for_what_a_push_is_refused_for(send: Send, database: Database) -> None:
    assert (await refusal(send, notification={"ttl": 1}, dry_run=True)).path == "notification"
    assert await database.values(b"select 1 from pushes", {}) == []
