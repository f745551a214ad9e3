"""Sends deliveries to their URLs: a few at once for each, so that one that is slow or away holds up no other."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import msgspec

from delivery.guard import AddressNotAllowedError, Allowed, GuardedTransport, resolving
from delivery.webhooks.hooks import credential_secrets, open_secret
from delivery.webhooks.signature import headers
from storage import credentials, webhooks
from storage.database import Database, DatabaseUnavailableError
from storage.ids import new_id
from storage.vault import Vault
from storage.webhooks import ClaimedDelivery, Deliveries

_LOG = logging.getLogger(__name__)
_RESOLVERS = 16
_MOST_ANSWER_BYTES = 65_536
_REFRESH_SECONDS = 10.0
_UPKEEP_SECONDS = 3600.0
_GONE = 410
_MOST_RETRY_AFTER_SECONDS = 3600.0


class DeliveryOptions(msgspec.Struct, frozen=True):
    """Times in seconds. `each` is how many deliveries go to one URL at once, `most` to all together (of a worker).

    A URL that did not take the last one gets a single delivery at a time, and none for a while that doubles with
    every failure from `cool_seconds` to `coolest_seconds`. A delivery waits between `backoff_seconds` and, doubling,
    `longest_backoff_seconds`, and is given up after a day.
    """

    poll_seconds: float = 1.0
    each: int = 4
    most: int = 128
    connect_seconds: float = 5.0
    answer_seconds: float = 15.0
    total_seconds: float = 20.0
    lease_seconds: float = 60.0
    cool_seconds: float = 1.0
    coolest_seconds: float = 60.0
    backoff_seconds: float = 10.0
    longest_backoff_seconds: float = 3600.0
    failure_days: int = 30


class _Refusal(Exception):
    """A delivery that was not taken: the word for the record, the HTTP status (0 without an answer), what to do."""

    def __init__(self, word: str, status: int = 0, *, after: float = 0.0, final: bool = False) -> None:
        super().__init__(word)
        self.word = word
        self.status = status
        self.after = after
        self.final = final


class _Cooling(msgspec.Struct):
    """A URL in trouble: how often in a row, and until when it is left alone (monotonic)."""

    failures: int = 0
    until: float = 0.0


class Deliverer:
    """Delivers what is due, for ever; any number of workers may, none sends what another one holds."""

    def __init__(
        self, database: Database, vault: Vault, allowed: Allowed, options: DeliveryOptions | None = None
    ) -> None:
        self.wake = asyncio.Event()
        self._database = database
        self._vault = vault
        self._allowed = allowed
        self._options = options or DeliveryOptions()
        self._deliveries = Deliveries(database, new_id(), self._options.lease_seconds)
        self._held: dict[str, str] = {}  # delivery → URL
        self._cooling: dict[str, _Cooling] = {}
        self._secrets: Mapping[str, bytes] = {}
        self._read_at = float("-inf")
        self._settling = asyncio.Lock()  # however many are in flight, one connection is enough to settle them

    async def run(self) -> None:
        """Deliver until cancelled; what is in flight then is given back, and sent again by whoever takes it."""
        options = self._options
        limits = httpx.Timeout(options.answer_seconds, connect=options.connect_seconds)
        executor = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolver")
        way = GuardedTransport(self._allowed, max_connections=options.most, resolve=resolving(executor))
        client = httpx.AsyncClient(transport=way, timeout=limits, follow_redirects=False, trust_env=False)
        try:
            async with client, asyncio.TaskGroup() as group:
                group.create_task(self._forget(), name="webhook upkeep")
                while True:
                    await self._round(client, group)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            await self._give_back()

    async def _round(self, client: httpx.AsyncClient, group: asyncio.TaskGroup) -> None:
        """Start what is due and has room; then wait for something to change."""
        self.wake.clear()
        try:
            claimed = await self._claim()
        except DatabaseUnavailableError as error:
            _LOG.warning("webhooks wait for the database", extra={"error": str(error)})
            claimed = []
        except Exception:  # which must not stop the worker from sending
            _LOG.exception("claiming deliveries failed")
            claimed = []
        for delivery in claimed:
            self._held[delivery.id] = delivery.url
            group.create_task(self._deliver(client, delivery), name=f"webhook {delivery.id}")
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.poll_seconds):
                await self.wake.wait()

    async def _claim(self) -> list[ClaimedDelivery]:
        room = self._options.most - len(self._held)
        if room <= 0:
            return []
        claimed = await self._deliveries.claim(room, self._options.each, self._busy())
        signers = {delivery.credential for delivery in claimed if delivery.credential}
        is_old = time.monotonic() > self._read_at + _REFRESH_SECONDS
        if signers and (is_old or not signers <= self._secrets.keys()):
            self._secrets = credential_secrets(await credentials.load(self._database, self._vault))
            self._read_at = time.monotonic()
        return claimed

    def _busy(self) -> dict[str, int]:
        """How much of its room each URL has used; one in trouble has room for one, and now and then."""
        busy = Counter(self._held.values())
        now, each = time.monotonic(), self._options.each
        for url, cooling in self._cooling.items():
            free = cooling.until <= now and not busy[url]
            busy[url] = each - 1 if free else each
        return dict(busy)

    async def _deliver(self, client: httpx.AsyncClient, delivery: ClaimedDelivery) -> None:
        try:
            try:
                await self._send(client, delivery)
            except _Refusal as refusal:
                await self._refused(delivery, refusal)
            else:
                self._cooling.pop(delivery.url, None)
                async with self._settling:
                    await self._deliveries.delivered(delivery.id)
        except DatabaseUnavailableError as error:
            # the lease ends, and it is sent once more
            _LOG.warning("a delivery could not be settled", extra={"delivery": delivery.id, "error": str(error)})
        except Exception:
            _LOG.exception("a delivery failed", extra={"delivery": delivery.id})
        self._held.pop(delivery.id, None)
        self.wake.set()

    async def _send(self, client: httpx.AsyncClient, delivery: ClaimedDelivery) -> None:
        """Send once; raises _Refusal unless it was taken."""
        fields = headers(self._secret(delivery), delivery.body, delivery.id, int(time.time()))
        try:
            async with asyncio.timeout(self._options.total_seconds):
                request = client.stream("POST", delivery.url, content=delivery.body, headers=fields)
                async with request as answer:
                    await _read_some(answer)
        except (TimeoutError, httpx.TimeoutException):
            raise _Refusal("Timeout") from None
        except AddressNotAllowedError:
            raise _Refusal("AddressNotAllowed") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # one word: the text may hold addresses
            raise _Refusal(type(error).__name__) from None
        if not answer.is_success:
            gone = answer.status_code == _GONE
            after = _retry_after(answer.headers.get("retry-after", ""))
            raise _Refusal("Gone" if gone else "Refused", answer.status_code, after=after, final=gone)

    def _secret(self, delivery: ClaimedDelivery) -> bytes:
        """What to sign with, empty where nothing is to be signed; raises _Refusal where it should be and cannot."""
        if delivery.credential:
            secret = self._secrets.get(delivery.credential)
            if secret is None:
                raise _Refusal("CredentialRemoved", final=True)
            return secret
        if delivery.secret is None:
            return b""
        own = open_secret(self._vault, delivery.secret)
        if own is None:
            raise _Refusal("SecretKeyChanged", final=True)
        return own

    async def _refused(self, delivery: ClaimedDelivery, refusal: _Refusal) -> None:
        options = self._options
        cooling = self._cooling.setdefault(delivery.url, _Cooling())
        cooling.failures += 1
        cooled = min(options.cool_seconds * 2 ** min(cooling.failures - 1, 20), options.coolest_seconds)
        cooling.until = time.monotonic() + max(cooled, min(refusal.after, options.coolest_seconds))
        step = min(options.backoff_seconds * 2 ** min(delivery.attempts - 1, 20), options.longest_backoff_seconds)
        seconds = max(random.uniform(step / 2, step), refusal.after)  # noqa: S311 - spreads load, guards nothing
        async with self._settling:
            dead = await self._deliveries.refused(
                delivery.id, seconds=seconds, status=refusal.status, error=refusal.word, final=refusal.final
            )
        facts = {"delivery": delivery.id, "status": refusal.status, "reason": refusal.word}
        if dead:
            _LOG.warning("a delivery of events was given up", extra=facts | {"attempts": delivery.attempts})
        elif cooling.failures == 1:
            _LOG.info("a webhook does not take its events", extra=facts)

    async def _forget(self) -> None:
        """Remove dead letters that are past retention, and forget URLs that were in trouble long ago."""
        while True:
            try:
                await webhooks.remove_old(self._database, self._options.failure_days)
            except DatabaseUnavailableError as error:
                _LOG.warning("upkeep of webhooks was put off", extra={"error": str(error)})
            old = time.monotonic() - _UPKEEP_SECONDS
            self._cooling = {url: cooling for url, cooling in self._cooling.items() if cooling.until > old}
            await asyncio.sleep(_UPKEEP_SECONDS)

    async def _give_back(self) -> None:
        if self._held:
            with suppress(DatabaseUnavailableError):  # then the leases end by themselves
                await self._deliveries.release(list(self._held))
            self._held.clear()


async def _read_some(answer: httpx.Response) -> None:
    """Read a short answer to its end, so that the connection serves again; of a long one nothing more is wanted."""
    read = 0
    async for part in answer.aiter_raw():
        read += len(part)
        if read > _MOST_ANSWER_BYTES:
            return


def _retry_after(text: str) -> float:
    return min(float(text), _MOST_RETRY_AFTER_SECONDS) if text.isdecimal() and len(text) < 10 else 0.0
