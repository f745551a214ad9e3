import json
import logging

import pytest

from delivery.queues.hints import Hints
from methods.context import Caller, Context, ServerFacts
from methods.errors import TooManyRequestsError
from methods.method import Empty, NoParams, Result, declare
from methods.replies import ErrorData, ErrorObject
from server.dispatcher import Dispatcher, Resources
from storage.database import Database
from storage.vault import Vault

_SECRET = "the token 0123456789abcdef"
_CALLER = Caller("tests")


class Unwritable(Result):
    """A result that no encoder can write."""

    value: complex = 0j


async def fails(ctx: Context, params: NoParams) -> Empty:
    """Fail with a text that nobody may see."""
    raise ValueError(_SECRET) from RuntimeError(_SECRET)


async def full(ctx: Context, params: NoParams) -> Empty:
    """Have no room."""
    raise TooManyRequestsError("the queue is full", retry_after_seconds=2.5)


async def unwritable(ctx: Context, params: NoParams) -> Unwritable:
    """Answer something that cannot be written."""
    return Unwritable(1j)


async def shows_body(ctx: Context, params: NoParams) -> Empty:
    """Keep the bytes of the call."""
    seen.append(ctx.body)
    return Empty()


seen: list[bytes] = []


@pytest.fixture
def dispatcher(database: Database, vault: Vault, hints: Hints, facts: ServerFacts) -> Dispatcher:
    table = {method.name: method for method in map(declare, (fails, full, unwritable, shows_body))}
    return Dispatcher(table, Resources(database, vault, hints, facts), dict)


async def test_an_unknown_exception_is_answered_without_a_word_of_it(
    dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    assert await dispatcher.execute(_CALLER, "fails", b"") == ErrorObject(100, "internal server error")


async def test_an_unknown_exception_is_logged_by_type_and_place_only(
    dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    await dispatcher.execute(_CALLER, "fails", b"")
    (record,) = caplog.records
    said = json.dumps(record.__dict__, default=repr)
    assert record.__dict__["error"] == "ValueError < RuntimeError"
    assert "test_dispatcher.py" in str(record.__dict__["where"])
    assert _SECRET not in said + caplog.text


async def test_a_result_that_cannot_be_written_is_an_internal_error(
    dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    assert await dispatcher.execute(_CALLER, "unwritable", b"") == ErrorObject(100, "internal server error")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_a_full_queue_says_when_to_try_again(dispatcher: Dispatcher) -> None:
    data = ErrorData("the queue is full", retry_after=2.5)
    assert await dispatcher.execute(_CALLER, "full", b"") == ErrorObject(111, "too many requests", data)


@pytest.mark.parametrize(("params", "body"), [(b"", b"{}"), (b"null", b"{}"), (b'{"a" : 1.0}', b'{"a" : 1.0}')])
async def test_a_method_sees_the_bytes_of_its_params(dispatcher: Dispatcher, params: bytes, body: bytes) -> None:
    seen.clear()
    assert await dispatcher.execute(_CALLER, "shows_body", params) == b"{}"
    assert seen == [body]


async def test_a_call_is_logged_for_debugging_without_its_params(
    dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "server.dispatcher")
    await dispatcher.execute(_CALLER, "shows_body", json.dumps({"x": _SECRET}).encode())
    (record,) = [record for record in caplog.records if record.name == "server.dispatcher"]
    facts = record.__dict__
    assert (facts["method"], facts["code"], facts["key"]) == ("shows_body", 0, "tests")
    assert _SECRET not in json.dumps(facts, default=repr)
