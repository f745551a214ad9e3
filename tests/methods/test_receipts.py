"""Receipts that apps report with a token instead of a key."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from delivery.receipts import RECEIPTS, Receipts
from methods.all import TABLE
from methods.context import Context
from methods.errors import BadRequestError
from storage.database import Database
from storage.ids import new_id
from storage.vault import Vault
from tests.methods.push_calls import put_credentials

MakeContext = Callable[..., Context]
Call = Callable[..., Any]


@pytest.fixture
def call(context: MakeContext) -> Call:
    async def made(method_name: str, /, **params: object) -> Any:
        body = json.dumps(params).encode()
        method = TABLE[method_name]
        return msgspec.to_builtins(await method.handler(context(body=body), method.decoder.decode(body)))

    return made


@pytest.fixture
async def token(call: Call, database: Database, vault: Vault) -> str:
    """What `{{ receipt_token }}` is in the push `sale` on some device."""
    await put_credentials(database)
    await call("send_push_notification", uid="sale", recipient={"fcm_tokens": ["a"]}, notification={"title": "Sale"})
    return Receipts(vault.derived(RECEIPTS)).token("sale", new_id())


async def test_a_report_by_token_counts_once(call: Call, token: str) -> None:
    for status in ("delivered", "delivered", "interacted"):
        await call("update_push_status", receipt_token=token, status=status)
    found = await call("push_status", uid="sale")
    assert (found["delivered"], found["interacted"]) == (1, 1)


async def test_a_token_says_itself_which_push_and_device(call: Call, token: str) -> None:
    for more in ({"analytics_uid": "other"}, {"device_id": new_id()}):
        with pytest.raises(BadRequestError):
            await call("update_push_status", receipt_token=token, status="delivered", **more)


async def test_a_token_that_was_changed_is_refused(call: Call, token: str) -> None:
    with pytest.raises(BadRequestError):
        await call("update_push_status", receipt_token=token[:-2] + "AA", status="delivered")
    assert "delivered" not in await call("push_status", uid="sale")
