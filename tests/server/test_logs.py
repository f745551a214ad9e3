"""Log lines: the facts are there, what must not be logged is not."""

import logging
import sys

import orjson
import pytest

from server.logs import JsonFormatter, TextFormatter, traceback_of


def _record(error: BaseException | None = None, **extra: object) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("server.x", logging.INFO, __file__, 1, "a push was accepted", None, exc_info)
    record.created = 1_700_000_000.5
    vars(record).update(extra)
    return record


def test_a_json_line_holds_the_facts() -> None:
    line = orjson.loads(JsonFormatter("api-1").format(_record(push_id="p", count=3)))
    assert line == {
        "time": "2023-11-14T22:13:20.500Z",
        "level": "info",
        "process": "api-1",
        "logger": "server.x",
        "message": "a push was accepted",
        "push_id": "p",
        "count": 3,
    }


def test_a_text_line_holds_the_facts() -> None:
    line = TextFormatter("api-1").format(_record(push_id="p", detail="two words"))
    assert line == '2023-11-14T22:13:20.500Z info    api-1        a push was accepted push_id=p detail="two words"'


@pytest.mark.parametrize("formatter", [JsonFormatter("x"), TextFormatter("x")])
def test_one_record_is_one_line(formatter: logging.Formatter) -> None:
    assert "\n" not in formatter.format(_record(detail="two\nlines"))


@pytest.mark.parametrize("name", ["token", "payload", "secret", "api_key", "authorization"])
def test_what_must_not_be_logged_is_hidden(name: str) -> None:
    record = _record()
    setattr(record, name, "hunter2")
    assert "hunter2" not in JsonFormatter("x").format(record)


def test_facts_that_json_does_not_know_are_written_as_text() -> None:
    line = orjson.loads(JsonFormatter("x").format(_record(where=sys)))
    assert line["where"].startswith("<module 'sys'")


def _raised() -> BaseException:
    try:
        try:
            raise ValueError("device token hunter2")
        except ValueError as cause:
            raise ExceptionGroup("hunter2", [KeyError("hunter2")]) from cause
    except ExceptionGroup as error:
        return error


def test_a_traceback_names_errors_and_places_without_their_texts() -> None:
    told = "\n".join(traceback_of(_raised()))
    assert [line for line in told.splitlines() if not line.startswith(" ")] == [
        "ExceptionGroup",
        "KeyError",
        "ValueError",
    ]
    assert "test_logs.py" in told
    assert "hunter2" not in told


@pytest.mark.parametrize("formatter", [JsonFormatter("x"), TextFormatter("x")])
def test_an_exception_is_logged_without_its_text(formatter: logging.Formatter) -> None:
    line = formatter.format(_record(_raised()))
    assert "ValueError" in line
    assert "hunter2" not in line
