"""Named payload templates: kept on the server, used by pushes, and not changed under those that were accepted."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from methods.all import TABLE
from methods.context import Context
from methods.errors import ApiError, BadRequestError, NotFoundError
from storage.database import Database
from tests.methods.push_calls import put_credentials

MakeContext = Callable[..., Context]
CALL = {
    "title": "{{ vars.caller }}",
    "data": {"type": "call", "sessionId": "{{ vars.session }}"},
    "apns": {"headers": {"apns-push-type": "voip", "apns-expiration": "0"}, "payload": {"id": "{{ vars.session }}"}},
}


@pytest.fixture
def call(context: MakeContext) -> Callable[..., Any]:
    async def made(method_name: str, /, **params: object) -> Any:
        body = json.dumps(params).encode()
        method = TABLE[method_name]
        return json.loads(msgspec.json.encode(await method.handler(context(body=body), method.decoder.decode(body))))

    return made


@pytest.fixture(autouse=True)
async def credentials(database: Database) -> None:
    await put_credentials(database)


async def content(database: Database) -> dict[str, Any]:
    """What the newest push says."""
    rows = await database.values(b"select content from pushes order by id desc limit 1", {})
    found: dict[str, Any] = json.loads(rows[0][0])
    return found


async def test_a_push_says_what_its_template_says_with_its_variables(
    call: Callable[..., Any], database: Database
) -> None:
    await call("template_put", name="call", notification=CALL)
    template = {"name": "call", "vars": {"caller": "Ann", "session": 7}}
    notification = {"template": template, "title": "{{ vars.caller }} calls", "data": {"extra": "x"}}
    await call("send_push_notification", recipient={"fcm_tokens": ["a"]}, notification=notification)
    says = await content(database)
    assert says["notification"]["title"] == "{{ vars.caller }} calls"
    assert says["notification"]["data"] == {"type": "call", "sessionId": "{{ vars.session }}", "extra": "x"}
    assert says["vars"] == {"caller": "Ann", "session": 7}


async def test_a_template_can_be_named_alone(call: Callable[..., Any], database: Database) -> None:
    await call("template_put", name="hello", notification={"title": "Hello"})
    await call("send_push_notification", recipient={"fcm_tokens": ["a"]}, notification={"template": "hello"})
    assert (await content(database))["notification"] == {"title": "Hello"}


async def test_what_was_accepted_stays_as_it_was(call: Callable[..., Any], database: Database) -> None:
    await call("template_put", name="hello", notification={"title": "Hello"})
    await call("send_push_notification", recipient={"fcm_tokens": ["a"]}, notification={"template": "hello"})
    await call("template_put", name="hello", notification={"title": "Goodbye"})
    await call("template_remove", name="hello")
    assert (await content(database))["notification"] == {"title": "Hello"}


async def test_localizations_of_the_push_go_before_those_of_the_template(
    call: Callable[..., Any], database: Database
) -> None:
    kept = {"de": {"translations": {"hi": "Hallo", "bye": "Servus"}}, "en": {"translations": {"hi": "Hello"}}}
    await call("template_put", name="hello", notification={"title": "{{ l10n.hi }}"}, localizations=kept)
    given = {"de": {"translations": {"hi": "Moin"}}}
    await call(
        "send_push_notification",
        recipient={"fcm_tokens": ["a"]},
        notification={"template": "hello"},
        localizations=given,
    )
    assert (await content(database))["localizations"]["de"] == {"translations": {"hi": "Moin", "bye": "Servus"}}


async def test_templates_are_listed_by_name_page_by_page(call: Callable[..., Any]) -> None:
    for name in ("b", "a", "c"):
        await call("template_put", name=name, notification={"title": name})
    first = await call("template_list", limit=2)
    assert [item["name"] for item in first["items"]] == ["a", "b"]
    rest = await call("template_list", limit=2, cursor=first["next_cursor"])
    assert [item["name"] for item in rest["items"]] == ["c"]
    assert "has_more" not in rest


@pytest.mark.parametrize(
    ("notification", "path"),
    [
        ({"title": "{{ vars."}, "notification.title"),
        ({"title": 7}, "notification"),
        ({}, "notification"),
        ({"template": "other"}, "notification.template"),
        ({"apns": {"headers": {"apns-collapse-id": "{{ device.id }}"}, "payload": {}}}, "notification.apns.headers"),
    ],
)
async def test_a_template_that_makes_no_sense_is_refused(
    call: Callable[..., Any], notification: dict[str, object], path: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        await call("template_put", name="bad", notification=notification)
    assert refused.value.path.startswith(path)


@pytest.mark.parametrize(
    ("used", "error"),
    [
        ("nobody", NotFoundError),
        (7, BadRequestError),
        ({"vars": {}}, BadRequestError),
        ({"name": "nobody"}, NotFoundError),
    ],
)
async def test_a_push_with_no_such_template_is_refused(
    call: Callable[..., Any], database: Database, used: object, error: type[ApiError]
) -> None:
    with pytest.raises(error):
        await call("send_push_notification", recipient={"fcm_tokens": ["a"]}, notification={"template": used})
    assert await database.values(b"select 1 from pushes", {}) == []


async def test_removing_what_is_not_there_is_not_found(call: Callable[..., Any]) -> None:
    with pytest.raises(NotFoundError):
        await call("template_remove", name="nobody")
