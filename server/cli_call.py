"""`tocsin call`: one call of the API from the command line."""

import argparse
from typing import IO, Any

import httpx
import msgspec

from server.data_directory import DataDirectory
from server.settings import Settings

_TEXT = """\
Calls a method of a running server and prints its result as JSON. The URL and the key come from the
options, else from TOCSIN_URL and TOCSIN_API_KEY, else from this machine's `tocsin serve`: its address
in the settings, its key in the data directory. Exits with 1 when the answer is an error.

examples:
  tocsin call info
  tocsin call device_list '{"filter":{"users":["42"]}}'
  tocsin call send_push_notification - < push.json
  tocsin call info --url https://push.example.com --key-file /run/secrets/api-key"""


class CallError(Exception):
    """The call could not be made; the text says what to do."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", form: Any) -> None:
    """Add `call` to the command line."""
    call = commands.add_parser(
        "call", help="call a method of a running server", description=_TEXT, formatter_class=form
    )
    call.add_argument("method", help="name of the method, such as info")
    call.add_argument("params", nargs="?", default="{}", metavar="JSON", help="its parameters; - reads standard input")
    call.add_argument("--url", help="address of the server (default: TOCSIN_URL, else this machine's)")
    call.add_argument("--key-file", metavar="FILE", help="file with the API key (default: TOCSIN_API_KEY, else ours)")
    call.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="longest wait (default: 30)")


def run(given: argparse.Namespace, settings: Settings, stdin: IO[str], stdout: IO[str]) -> int:
    """Make the call and print its answer; the exit code. Raises CallError."""
    reply = _post(
        (given.url or settings.client_url).rstrip("/"),
        _key(given.key_file, settings),
        _request(given.method, stdin.read() if given.params == "-" else given.params),
        given.timeout,
    )
    failed = isinstance(reply, dict) and "error" in reply
    shown = reply if failed or not isinstance(reply, dict) else reply.get("result", reply)
    stdout.write(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode() + "\n")
    return 1 if failed else 0


def _request(method: str, params: str) -> bytes:
    text = params.strip() or "{}"
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise CallError(f"the parameters are not JSON: {error}") from None
    return msgspec.json.encode({"method": method, "params": msgspec.Raw(text.encode())})


def _key(file: str | None, settings: Settings) -> str:
    if file:
        try:
            with open(file, encoding="utf-8") as opened:  # noqa: PTH123 - /dev/fd/3 of a shell is no Path of ours
                return opened.read().strip()
        except OSError as error:
            raise CallError(f"the key cannot be read from {file}: {error.strerror}") from None
    key = settings.api_key or DataDirectory(settings.data_path).api_key()
    if not key:
        raise CallError("no API key: set TOCSIN_API_KEY, or make one with `tocsin key create NAME`")
    return key


def _post(url: str, key: str, body: bytes, timeout: float) -> Any:
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    try:
        answer = httpx.post(f"{url}/api", content=body, headers=headers, timeout=timeout)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise CallError(f"no answer from {url}: {error or type(error).__name__}. Is `tocsin serve` running?") from None
    if answer.status_code == 401:
        raise CallError(f"{url} does not know this API key: set TOCSIN_API_KEY to one of its keys")
    if answer.status_code != 200:
        raise CallError(f"{url} answered with HTTP status {answer.status_code}: {answer.text[:200]}")
    try:
        return msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        raise CallError(f"{url} answered, but not with JSON: is it a Tocsin server?") from None
