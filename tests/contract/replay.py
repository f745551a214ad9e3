"""Reads the golden pairs and replays them; README.md says how they are written."""

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from tests.contract.serving import Served

HERE = Path(__file__).parent

_PLACEHOLDER = re.compile(r"<(\w+)(?: as (\w+))?>")
_MORE = "..."


@dataclass(frozen=True)
class Story:
    """A file of golden pairs."""

    path: Path
    steps: list[dict[str, Any]]
    max_queue: int

    @property
    def name(self) -> str:
        return str(self.path.relative_to(HERE).with_suffix(""))


def stories() -> list[Story]:
    """Read every story of this folder."""
    read = {path: json.loads(path.read_text()) for path in sorted(HERE.rglob("*.json"))}
    return [Story(path, story["steps"], story.get("max_queue", 100_000)) for path, story in read.items()]


def methods_answered(story: Story) -> Iterator[str]:
    """Name the methods that a story calls with success."""
    for step in story.steps:
        request, answer = step.get("request", {}), step.get("answer", {})
        path = request.get("path", "/api").partition("?")[0].strip("/").removeprefix("api").strip("/")
        bodies, replies = request.get("json"), answer.get("json")
        if path and isinstance(replies, dict) and ("result" in replies or "replies" in replies):
            yield path
        both_lists = isinstance(bodies, list) and isinstance(replies, list)
        pairs = zip(bodies, replies, strict=False) if both_lists else [(bodies, replies)]
        for body, reply in pairs:
            if not path and isinstance(body, dict) and isinstance(reply, dict) and "result" in reply:
                yield body["method"]


class Replay:
    """Plays one story; `variables` hold what was captured."""

    def __init__(self, served: Served, client: httpx.AsyncClient) -> None:
        self._served = served
        self._client = client
        self.variables: dict[str, Any] = {"key": served.key, "limited": served.limited}

    async def play(self, story: Story) -> None:
        """Run every step; AssertionError names the one that came out differently."""
        for number, step in enumerate(story.steps, 1):
            if "sql" in step:
                await self._served.database.execute(step["sql"].encode(), {})
            elif "break" in step:
                await self._served.database.__aexit__(None, None, None)
            else:
                await self._exchange(step, f"{story.name}, step {number} ({step.get('name', '')})")

    async def _exchange(self, step: dict[str, Any], where: str) -> None:
        request, expected = step["request"], step["answer"]
        headers = {"X-API-Key": self.variables["key"]} if request.get("key", True) else {}
        headers |= {name: self._filled(value) for name, value in request.get("headers", {}).items()}
        url = self._filled(request.get("path", "/api"))
        method = request.get("method", "POST")
        answer = await self._client.request(method, url, headers=headers, content=self._body(request))
        said = f"{where}: {answer.status_code} {answer.text[:2000]}"
        assert answer.status_code == expected.get("status", 200), said
        for name, value in expected.get("headers", {}).items():
            self._same(value, answer.headers.get(name), f"{said}\nheader {name}")
        self._compare(expected, answer, said)

    def _compare(self, expected: dict[str, Any], answer: httpx.Response, said: str) -> None:
        if "json" in expected:
            self._same(expected["json"], answer.json(), f"{said}\n$")
        if "lines" in expected:
            self._same(expected["lines"], [json.loads(line) for line in answer.text.split("\n")], f"{said}\n$")
        if "text" in expected:
            assert answer.text == expected["text"], said

    def _body(self, request: dict[str, Any]) -> bytes:
        if "json" in request:
            return self._filled(json.dumps(request["json"], ensure_ascii=False)).encode()
        if "base64" in request:
            return base64.b64decode(request["base64"])
        if "repeat" in request:
            return "".join(part * times for part, times in request["repeat"]).encode()
        return self._filled(request.get("text", "")).encode()

    def _filled(self, text: str) -> str:
        for name, value in self.variables.items():
            text = text.replace("{{" + name + "}}", str(value))
        return text

    def _same(self, expected: Any, got: Any, where: str) -> None:
        if isinstance(expected, str) and (placeholder := _PLACEHOLDER.fullmatch(expected)):
            kind, name = placeholder.groups()
            assert _KINDS[kind](got), f"{where} is {got!r}, not {expected}"
            if name:
                self.variables[name] = got
        elif isinstance(expected, dict) and isinstance(got, dict):
            wanted = {key: value for key, value in expected.items() if key != _MORE}
            missing, extra = wanted.keys() - got.keys(), got.keys() - wanted.keys()
            assert not missing, f"{where} lacks {sorted(missing)}"
            assert not extra or _MORE in expected, f"{where} has {sorted(extra)} beside what was expected"
            for key, value in wanted.items():
                self._same(value, got[key], f"{where}.{key}")
        elif isinstance(expected, list) and isinstance(got, list):
            assert len(expected) == len(got), f"{where} has {len(got)} items instead of {len(expected)}"
            for index, value in enumerate(expected):
                self._same(value, got[index], f"{where}[{index}]")
        else:
            wanted_text = self._filled(expected) if isinstance(expected, str) else expected
            assert (type(wanted_text), wanted_text) == (type(got), got), (
                f"{where} is {got!r} instead of {wanted_text!r}"
            )


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_uuid(value: Any) -> bool:
    return isinstance(value, str) and str(UUID(value)) == value


_KINDS: dict[str, Callable[[Any], bool]] = {
    "any": lambda value: True,
    "uuid": _is_uuid,
    "int": _is_int,
    "number": lambda value: isinstance(value, float) or _is_int(value),
    "string": lambda value: isinstance(value, str) and value != "",
    "list": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "time": lambda value: _is_int(value) and abs(value - time.time()) < 86_400,
}
