"""Log lines on standard error: text for people, JSON for machines; the facts of a line are its `extra`."""

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from traceback import extract_tb
from typing import Any

import orjson

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# a second lock on the door: no line of ours has such a fact
_NEVER = frozenset({"token", "tokens", "payload", "secret", "api_key", "authorization", "credential_secrets", "body"})
_HARMLESS = (AttributeError, NameError, ImportError)
# at `info` these tell of every request, with addresses in them
_TALKATIVE = ("uvicorn", "httpx", "httpcore", "hpack", "aioapns", "google.auth", "asyncio", "psycopg.pool")


def facts_of(record: logging.LogRecord) -> dict[str, Any]:
    """The `extra` of a record; what must never be logged is replaced by a word."""
    given = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    return {name: "(hidden)" if name in _NEVER else value for name, value in given.items()}


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the facts, and the traceback of an exception."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
            **facts_of(record),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["traceback"] = traceback_of(record.exc_info[1])
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class TextFormatter(logging.Formatter):
    """Time, level, process, message, then the facts as name=value; a traceback follows on its own lines."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        facts = "".join(f" {name}={_word(value)}" for name, value in facts_of(record).items())
        line = f"{_time(record)} {record.levelname.lower():<8}{self._process:<12} {record.getMessage()}{facts}"
        if record.exc_info and record.exc_info[1] is not None:
            return "\n    ".join([line, *traceback_of(record.exc_info[1])])
        return line


def traceback_of(error: BaseException) -> list[str]:
    """Say what failed and where, causes and members of a group after it.

    Without the errors' texts, which may quote a token or a payload, but for those that only name our own code.
    """
    text = f": {error}" if isinstance(error, _HARMLESS) else ""
    frames = [f"  {each.filename}:{each.lineno} {each.name}" for each in extract_tb(error.__traceback__)]
    lines = [f"{type(error).__name__}{text}", *frames]
    members = list(error.exceptions) if isinstance(error, BaseExceptionGroup) else []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    for each in [*members, *filter(None, [cause])]:
        lines += traceback_of(each)
    return lines


def _word(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and " " not in text else orjson.dumps(text).decode()


_FORMATTERS: Mapping[str, type[JsonFormatter] | type[TextFormatter]] = {"json": JsonFormatter, "text": TextFormatter}


def configure(level: str, form: str, process: str) -> None:
    """Send this process's log to standard error; `form` is `text` or `json`, `process` names it in each line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_FORMATTERS[form](process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
