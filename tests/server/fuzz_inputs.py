"""Inputs for the door, made off the OpenRPC document: nearly right ones, wrong ones, broken ones, in all five forms."""

import json
import random
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Schema = Mapping[str, Any]

_TEXTS = [
    *("", "a", "news", "user-1", "fcm", "apns", "webpush", "ios", "android", "web", "production", "Europe/Berlin"),
    *("pt-BR", "00" * 32, "x" * 5000, "é漢🎉", "\x00", "a\x00b", "\ud800", "\udc00x", "'; drop table devices; --"),
    *("%(id)s", "{{x}}", "01890000-0000-7000-8000-000000000000", "not-a-uuid", "'a' in topics && !('b' in topics)"),
    *("'a' in", "(" * 200, "🎉" * 300, "\\", '"', "\u2028", "1e5", "null"),
    '{"endpoint":"https://fcm.googleapis.com/x","keys":{"p256dh":"a","auth":"b"}}',
]
_NUMBERS = [
    0,
    1,
    -1,
    2,
    100,
    1001,
    2**31,
    -(2**31),
    2**53,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    10**30,
    1.0,
    0.5,
    1e300,
    -0.0,
]
_PAYLOADS: list[Any] = [
    {"payload": {"aps": {"alert": "hello"}}, "headers": {"apns-push-type": "alert"}},
    {"message": {"notification": {"title": "t", "body": "b"}}},
    {"notification": {"title": "t"}},
    {"payload": {"aps": "x" * 5000}},
    {"payload": {}},
    {"headers": {"apns-priority": 11}},
    {"message": []},
]
_LIKELY: dict[str, Any] = {"fcm": _PAYLOADS[1], "apns": _PAYLOADS[0]}  # what makes a push acceptable
_FORMS = ("plain", "strict", "array", "stream", "method", "batch")


@dataclass(frozen=True)
class Input:
    """A request, and which form it was meant to have; `broken` when its bytes were changed afterwards."""

    form: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    broken: bool = False


class Inputs:
    """Makes inputs; the same seed makes the same ones as long as the same strings are learnt from the answers."""

    def __init__(self, document: Schema, seed: int) -> None:
        self._random = random.Random(seed)
        self._schemas: Schema = document["components"]["schemas"]
        self._methods: list[Schema] = document["methods"]
        self._learnt: list[str] = ["x"]

    def learn(self, answer: Any) -> None:
        """Keep ids and other strings of an answer, so that later inputs name what exists."""
        texts = [text for text in _strings(answer) if 0 < len(text) < 100]
        self._learnt = (self._learnt + texts[:5])[-200:]

    def make(self) -> Input:
        """Make the next input."""
        form = self._random.choice(_FORMS)
        path, body, headers = "/api", b"", {}
        if form == "method":
            name, params = self._call()
            path, body = f"/api/{name}", _json(params)
            headers = {"X-Centrifugo-Error-Mode": "transport"} if self._random.random() < 0.3 else {}
        elif form == "batch":
            path, body = "/api/batch", _json(self._batch())
        elif form == "stream":
            body = self._random.choice([b"", b"\n"]).join(
                _json(self._plain()) for _ in range(self._random.randint(2, 5))
            )
        elif form == "array":
            body = _json([self._strict() for _ in range(self._random.choice([0, 1, 2, 5, 100, 101]))])
        else:
            body = _json(self._plain() if form == "plain" else self._strict())
        if self._random.random() < 0.25:
            return Input(form, path, self._random.choice(_BREAKS)(self._random, body), headers, broken=True)
        return Input(form, path, body, headers)

    def _plain(self) -> Any:
        name, params = self._call()
        call: dict[str, Any] = {"method": name, "params": params}
        if self._random.random() < 0.3:
            call["id"] = self._random.choice([1, "a", None, [1.0], {"x": 1}])
        return self._spoiled(call, 0.05)

    def _strict(self) -> Any:
        name, params = self._call()
        call: dict[str, Any] = {"jsonrpc": "2.0", "method": name, "params": params}
        if self._random.random() < 0.8:
            call["id"] = self._random.choice([1, "a", None, 2.5, [1], True])
        return self._spoiled(call, 0.05)

    def _batch(self) -> Any:
        commands = [self._spoiled(dict([self._call()]), 0.1) for _ in range(self._random.choice([0, 1, 3, 30]))]
        return self._spoiled({"commands": commands, "parallel": self._random.random() < 0.5}, 0.05)

    def _call(self) -> tuple[str, Any]:
        method = self._random.choice(self._methods)
        if self._random.random() < 0.03:
            return self._random.choice(["", "nope", "Info", "device", "__init__", "x" * 10_000, "\x00"]), {}
        params = {}
        for param in method["params"]:
            if self._random.random() < (0.95 if param["required"] else 0.25):
                params[param["name"]] = self._value(param["schema"], 0)
        return method["name"], self._spoiled(params, 0.05)

    def _value(self, schema: Schema, depth: int) -> Any:
        if self._random.random() < 0.07:
            return self._anything(depth)
        if "$ref" in schema:
            return self._struct(self._schemas[schema["$ref"].rpartition("/")[2]], depth + 1)
        for word in ("allOf", "anyOf"):
            if word in schema:
                return self._value(self._random.choice(schema[word]), depth)
        if "enum" in schema:
            return self._random.choice(schema["enum"])
        return self._typed(schema, depth)

    def _typed(self, schema: Schema, depth: int) -> Any:
        match schema.get("type"):
            case "string":
                return self._text()
            case "boolean":
                return self._random.random() < 0.5
            case "integer" | "number":
                return self._random.choice([*_NUMBERS, schema.get("minimum", 0), schema.get("maximum", 0)])
            case "array":
                count = self._random.choice([0, 1, 1, 2, 3, 1001 if depth == 0 else 5])
                return [self._value(schema["items"], depth + 1) for _ in range(count)]
            case "object":
                keys = [self._text() for _ in range(self._random.randint(0, 3))]
                return {key: self._value(schema.get("additionalProperties", {}), depth + 1) for key in keys}
        return self._random.choice([*_PAYLOADS, self._text(), self._anything(depth)])

    def _struct(self, component: Schema, depth: int) -> Any:
        properties = component.get("properties", {})
        likely = [name for name in _LIKELY if name in properties]
        if likely and self._random.random() < 0.7:
            return {name: _LIKELY[name] for name in self._random.sample(likely, self._random.randint(1, 2))}
        wanted = self._random.sample(sorted(properties), min(len(properties), self._random.choice([0, 1, 1, 1, 2, 4])))
        names = {*component.get("required", []), *wanted}
        return {name: self._value(properties[name], depth + 1) for name in sorted(names) if depth < 6}

    def _anything(self, depth: int) -> Any:
        simple = [None, True, False, self._text(), self._random.choice(_NUMBERS)]
        nested: list[Any] = [
            [],
            {},
            [self._text()],
            {"a": None},
            {self._text(): self._text()},
            _deep(self._random.choice([20, 150])),
        ]
        return self._random.choice(simple + nested if depth < 4 else simple)

    def _text(self) -> str:
        learnt = self._random.random() < 0.4
        word = "".join(self._random.choices(string.ascii_letters, k=self._random.randint(1, 12)))
        return self._random.choice(self._learnt) if learnt else self._random.choice([*_TEXTS, word])

    def _spoiled(self, value: dict[str, Any], chance: float) -> Any:
        """Take or add a member, or put something else in its place, now and then."""
        if self._random.random() >= chance:
            return value
        key = self._random.choice([*value, "more"])
        changed = {**value, key: self._anything(0)}
        gone = {name: member for name, member in value.items() if name != key}
        return self._random.choice([changed, gone, self._anything(0)])


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for member in members for text in _strings(member)]


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _deep(levels: int) -> Any:
    value: Any = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def _cut(chance: random.Random, body: bytes) -> bytes:
    return body[: chance.randrange(len(body) + 1)]


def _flip(chance: random.Random, body: bytes) -> bytes:
    changed = bytearray(body or b"x")
    for _ in range(chance.randint(1, 4)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _insert(chance: random.Random, body: bytes) -> bytes:
    place = chance.randrange(len(body) + 1)
    return body[:place] + chance.choice(_INSERTS) + body[place:]


def _into_string(chance: random.Random, body: bytes) -> bytes:
    parts = body.split(b'"')
    return (
        b'"'.join([*parts[:-1], chance.choice(_INSERTS), parts[-1]])
        if len(parts) < 2
        else body.replace(b'": "', b'": "' + chance.choice(_INSERTS), 1)
    )


def _nest(chance: random.Random, body: bytes) -> bytes:
    depth = chance.choice([90, 101, 990, 1010, 100_000])
    begin, end = chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return (
        body.replace(b"{}", begin * depth + b"1" + end * depth, 1)
        if b"{}" in body
        else begin * depth + body + end * depth
    )


_INSERTS = [
    b"\xff",
    b"\xed\xa0\x80",
    b"\xc3",
    b"\x00",
    b"\\ud800",
    b"\\u0000",
    b"\\",
    b'"',
    b"{",
    b"]",
    b",",
    b"\xef\xbb\xbf",
    b"\n",
    b"NaN",
]
_BREAKS: list[Callable[[random.Random, bytes], bytes]] = [_cut, _flip, _insert, _into_string, _nest]
