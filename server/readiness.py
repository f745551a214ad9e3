"""Whether this server can do its work: the checks behind `GET /ready`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from storage import health, migrations
from storage.database import Database

Check = Callable[[], Awaitable[object]]

_TIMEOUT_SECONDS = 5.0
_KEPT_SECONDS = 1.0


class NotReadyError(Exception):
    """A check found that the server cannot work; the text says why and is shown to whoever asks."""


def checks_of(database: Database) -> dict[str, Check]:
    """Return the checks of a server on this database."""

    async def migrated() -> None:
        if missing := await migrations.pending(database):
            raise NotReadyError(f"{len(missing)} migrations are pending: run `tocsin migrate`")

    return {
        "database": lambda: health.server_version(database),
        "migrations": migrated,
        "queue": lambda: health.queue_is_readable(database),
    }


class Readiness:
    """Runs the checks, at most once a second however often it is asked: the door needs no key."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._asking = asyncio.Lock()
        self._found: dict[str, str] = {}
        self._found_at = float("-inf")

    async def answer(self, request: Request) -> Response:
        """Answer `GET /ready`: 200 when every check is `ok`, else 503."""
        found = await self.ask()
        ready = all(said == "ok" for said in found.values())
        return JSONResponse({"ready": ready, "checks": found}, 200 if ready else 503)

    async def ask(self) -> dict[str, str]:
        """Return what each check says: `ok`, or why not."""
        async with self._asking:
            if time.monotonic() - self._found_at >= _KEPT_SECONDS:
                self._found = dict(
                    zip(self._checks, await asyncio.gather(*map(_said, self._checks.values())), strict=True)
                )
                self._found_at = time.monotonic()
            return self._found


async def _said(check: Check) -> str:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await check()
    except NotReadyError as error:
        return str(error)
    except migrations.MigrationError as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {_TIMEOUT_SECONDS:.0f} seconds"
    except Exception as error:
        return type(error).__name__  # its text may quote a connection string
    return "ok"
