"""Throws inputs at the door and looks at what comes back: `python -m tests.server.fuzz --seconds 60 --seed 1`.

What must hold for every input: no HTTP 5xx and no internal error, the contract's envelope with nothing beside it, and
not a row more, less or changed in count when everything that was asked was refused.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from typing import Any
from urllib.parse import quote

import httpx
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from storage import api_keys
from storage.database import Database
from tests.contract.serving import Served, in_process, served
from tests.server.fuzz_inputs import Input, Inputs

_KEY_ENDED = b"""
select bool_and(revoked_at is not null or expires_at is not null) from api_keys where name = %(name)s
"""
_MESSAGES = {
    104: "not found",
    107: "bad request",
    108: "not available",
    111: "too many requests",
    112: "forbidden",
    113: "conflict",
}
_STRICT_MESSAGES = _MESSAGES | {
    -32700: "Parse error",
    -32600: "Invalid request",
    -32601: "Method not found",
    -32602: "Invalid params",
}
_STATUSES = {400, 404, 403, 409, 429}
_COUNTS = b"""
select (select count(*) from devices), (select count(*) from device_topics), (select count(*) from user_topics),
       (select count(*) from pushes), (select count(*) from batches), (select count(*) from credentials),
       (select count(*) from receipts), (select count(*) from push_ledger), (select count(*) from api_keys)
"""
_PUT_EVERY = 50  # inputs
_NOWHERE = "http://127.0.0.1:1"


def _pem(key: PrivateKeyTypes) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _credentials() -> list[dict[str, object]]:
    """Sound credentials, so that pushes are accepted, which lead to a port where nobody listens."""
    account = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "k",
        "private_key": _pem(rsa.generate_private_key(65537, 2048)),
        "client_email": "a@p.iam.gserviceaccount.com",
        "token_uri": "https://127.0.0.1:1/token",
    }
    apns = {"key": _pem(ec.generate_private_key(ec.SECP256R1())), "key_id": "KEY4567890", "team_id": "TEAM567890"}
    return [
        {"provider_id": "apns", "provider": "apns", "endpoint": _NOWHERE, "bundle_id": "com.example.app", **apns},
        {"provider_id": "fcm", "provider": "fcm", "endpoint": _NOWHERE, "service_account": account},
    ]


class Fuzz:
    """One run; `seen` counts what came back, by form and kind."""

    def __init__(self, server: Served, client: httpx.AsyncClient) -> None:
        self._server = server
        self._client = client
        self._key, self._key_name = server.key, "tests"
        self._rows: object = None
        self.seen: Counter[str] = Counter()

    async def run(self, seed: int, seconds: float, most: int | None = None) -> None:
        """Send inputs for that long, at most that many; AssertionError shows the first one that came out wrong."""
        discovered = await self._send(Input("method", "/api/rpc.discover", b""))
        credentials = [json.dumps(credential).encode() for credential in _credentials()]
        inputs = Inputs(discovered.json()["result"], seed)
        end, number = time.monotonic() + seconds, 0
        while time.monotonic() < end and (most is None or number < most):
            if number % _PUT_EVERY == 0:
                await self._put(credentials)
            number += 1
            each = inputs.make()
            answer = await self._send(each)
            if answer.status_code == 401:
                await self._renew_key(f"tests-{number}")
                continue
            try:
                await self._judge(each, answer, inputs)
            except AssertionError as error:
                shown = f"{each.path} {each.headers} {each.body[:3000]!r}\n{answer.status_code} {answer.text[:3000]}"
                raise AssertionError(f"seed {seed}, input {number}: {error}\n{shown}") from error

    async def _put(self, credentials: list[bytes]) -> None:
        """Put the credentials, which the inputs remove now and then."""
        for credential in credentials:
            put = await self._send(Input("method", "/api/provider_put", credential))
            assert "result" in put.json(), put.text
        self._rows = None

    async def _renew_key(self, name: str) -> None:
        """Go on with another key, once an input has revoked or replaced ours: there is no other reason for a 401."""
        found = await self._server.database.values(_KEY_ENDED, {"name": self._key_name})
        assert found == [(True,)], "a good key was refused"
        self._key, self._key_name = await api_keys.create(self._server.database, name), name
        self._rows = None

    async def _send(self, each: Input) -> httpx.Response:
        headers = {"X-API-Key": self._key, **each.headers}
        return await self._client.post(quote(each.path), content=each.body, headers=headers)

    async def _judge(self, each: Input, answer: httpx.Response, inputs: Inputs) -> None:
        replies = replies_of(each, answer)
        failed = [reply for reply in replies if "error" in reply or "code" in reply]
        self.seen[f"{each.form} {answer.status_code} {'refused' if len(failed) == len(replies) else 'answered'}"] += 1
        rows = await _rows(self._server.database)
        if self._rows is not None and replies and len(failed) == len(replies) and not _notifies(each.body):
            assert rows == self._rows, f"a refused call changed the store from {self._rows} to {rows}"
        self._rows = rows
        for reply in replies:
            inputs.learn(reply.get("result"))


async def _rows(database: Database) -> object:
    return tuple((await database.values(_COUNTS, {}))[0])


def replies_of(each: Input, answer: httpx.Response) -> list[dict[str, Any]]:
    """Read the replies of an answer; AssertionError when it is not what the contract says of this form."""
    if answer.status_code == 413 or answer.status_code == 204:
        assert answer.content == b"", "a body where none belongs"
        return []
    if answer.status_code == 400 and answer.headers["content-type"].startswith("text/plain"):
        assert each.broken or not _is_json(each.body), "called malformed, though it is JSON"
        return [{"error": None}]
    assert answer.headers["content-type"] == "application/json"
    if answer.status_code != 200:
        return [_bare_error(each, answer)]
    if each.path == "/api/batch":
        return _batch(answer.json())
    if each.path not in ("/api", "/api/"):
        return [_plain(answer.json())]
    return [reply for line in answer.text.split("\n") for reply in _line(json.loads(line))]


def _line(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        assert 1 <= len(value) <= 100, "a strict batch of another size"
        return [_strict(item) for item in value]
    return [_strict(value) if "jsonrpc" in value else _plain(value)]


def _plain(reply: dict[str, Any]) -> dict[str, Any]:
    assert reply.keys() - {"id"} in ({"result"}, {"error"}), "neither a result nor an error"
    if "error" in reply:
        _error(reply["error"], _MESSAGES)
    else:
        assert isinstance(reply["result"], dict)
        if "replies" in reply["result"]:
            _batch(reply["result"])
    return reply


def _strict(reply: dict[str, Any]) -> dict[str, Any]:
    assert reply["jsonrpc"] == "2.0"
    assert reply.keys() - {"jsonrpc"} in ({"result", "id"}, {"error", "id"}), "not a response of JSON-RPC 2.0"
    assert not isinstance(reply["id"], bool | list | dict), "an id that is none"
    if "error" in reply:
        _error(reply["error"], _STRICT_MESSAGES)
    return reply


def _batch(answer: dict[str, Any]) -> list[dict[str, Any]]:
    if answer.keys() == {"error"}:
        return [_plain(answer)]
    assert answer.keys() == {"replies"}, "a batch has replies"
    for reply in answer["replies"]:
        assert len(reply) == 1, "a reply of a batch has one member"
        if "error" in reply:
            _error(reply["error"], _MESSAGES)
    return [{"result": None} if "error" not in reply else reply for reply in answer["replies"]]


def _bare_error(each: Input, answer: httpx.Response) -> dict[str, Any]:
    assert each.headers, "an HTTP status without transport mode"
    assert answer.status_code in _STATUSES, "an HTTP status that the contract does not know"
    error: dict[str, Any] = answer.json()
    assert error.keys() == {"code", "message"}
    _error(error, _MESSAGES)
    return error


def _error(error: dict[str, Any], messages: dict[int, str]) -> None:
    assert error["code"] in messages, f"the code {error['code']}"
    assert error["message"] == messages[error["code"]], "another message than that of the code"
    assert error.keys() <= {"code", "message", "data"}
    assert error.get("data", {}).keys() <= {"detail", "path", "retry_after"}


def _notifies(body: bytes) -> bool:
    """Whether a strict batch holds calls that want no answer: they may have been run."""
    calls = json.loads(body) if body.startswith(b"[") and _is_json(body) else []
    return any(isinstance(call, dict) and "id" not in call for call in calls)


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


async def fuzz(database_url: str, seed: int, seconds: float, most: int | None = None) -> Counter[str]:
    """Run against a server on this database, in process."""
    async with served(database_url) as server, in_process(server.app) as client:
        run = Fuzz(server, client)
        await run.run(seed, seconds, most)
        return run.seen


def main() -> int:
    """Run the smoke test of test_fuzz.py for as long as asked."""
    parser = argparse.ArgumentParser(description="Fuzz the door.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    environ = os.environ | {"TOCSIN_FUZZ_SECONDS": str(given.seconds), "TOCSIN_FUZZ_SEED": str(given.seed)}
    command = [sys.executable, "-m", "pytest", "-s", "tests/server/test_fuzz.py"]
    return subprocess.run(command, env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
