"""`make demo`: a whole server for a minute, two devices, one push, and what the emulated push services received."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec

from server.data_directory import DataDirectory

_SEND_SECONDS = 30.0
_DEVICES: tuple[dict[str, Any], ...] = (
    {"provider": "apns", "platform": "ios", "token": "ab" * 32, "user": "ann", "topics": ["news"]},
    {"provider": "fcm", "platform": "android", "token": "demo-token-of-ann", "user": "ann", "topics": ["news"]},
)
_PUSH = {
    "uid": "demo",
    "recipient": {"filter": {"topics": ["news"]}},
    "notification": {
        "apns": {"headers": {"apns-push-type": "alert"}, "payload": {"aps": {"alert": "Good morning"}}},
        "fcm": {"message": {"notification": {"title": "Good morning"}}},
    },
}


class Demo:
    """A running server, as a client sees it; every call is shown with its answer."""

    def __init__(self, url: str, key: str) -> None:
        self._client = httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=10.0)

    def call(self, method: str, params: dict[str, Any]) -> None:
        """Make a call and show it."""
        answer = self._client.post("/api", json={"method": method, "params": params}).json()
        _show(f"{method} {msgspec.json.encode(params).decode()}", answer)

    def finished(self, uid: str) -> bool:
        """Whether the push is done, asked for without a word."""
        status = self._client.post("/api/push_status", json={"uid": uid}).json()
        return bool(status.get("result", {}).get("state") == "done")

    def run(self) -> None:
        """Register, push, wait for the end, look at what arrived."""
        for device in _DEVICES:
            self.call("device_register", device)
        self.call("send_push_notification", _PUSH)
        _wait(lambda: self.finished("demo"), _SEND_SECONDS)
        self.call("push_status", {"uid": "demo"})
        info = self._client.post("/api/info", json={}).json()["result"]
        for provider, control in info["emulators"].items():
            _show(f"what the emulated {provider} received", httpx.get(f"{control}/requests?limit=1").json())


def _show(title: str, value: object) -> None:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    sys.stdout.write(f"\n> {title}\n{text}\n")
    sys.stdout.flush()


def _wait(done: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("the demo took too long; the log above says why")
        time.sleep(0.05)


def _greeting(server: "subprocess.Popen[str]") -> str:
    text = ""
    for line in server.stdout or ():
        text += line
        if "curl" in line:
            return text
    raise RuntimeError("the server did not start; the log above says why")


def main() -> int:
    """Run the demonstration; the exit code."""
    with tempfile.TemporaryDirectory(prefix="tocsin-demo-") as directory:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
        settings = {"TOCSIN_DATA_DIR": directory, "TOCSIN_PORT": "0", "TOCSIN_EMULATOR_PORTS": "0"}
        command = [sys.executable, "-P", "-m", "server.cli", "serve"]
        environ |= settings | {"TOCSIN_LOG_LEVEL": "warning", "PYTHONPATH": str(Path(__file__).parents[1])}
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
            try:
                greeting = _greeting(server)
                sys.stdout.write(greeting)
                url = greeting.partition("ready on ")[2].split()[0]
                Demo(url, DataDirectory(Path(directory)).api_key()).run()
            finally:
                server.terminate()
        return server.returncode


if __name__ == "__main__":
    sys.exit(main())
