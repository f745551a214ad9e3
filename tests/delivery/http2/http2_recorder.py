"""A group that records its reports."""

import asyncio
from collections.abc import Sequence

from delivery.http2 import Answer, Failure, FailureKind, Group, Head

PATIENCE_SECONDS = 5.0

APNS_HEAD = Head(
    b"api.push.example",
    b"/3/device/",
    [(b"authorization", b"bearer a.b.c"), (b"apns-topic", b"org.example.app"), (b"apns-push-type", b"alert")],
    own_fields=[(b"apns-expiration", b"1700000000")],
    id_name=b"apns-id",
    scheme=b"http",
)
FCM_HEAD = Head(b"fcm.example", b"/v1/projects/p/messages:send", [(b"authorization", b"Bearer t")], scheme=b"http")


class Recorder(Group):
    """Keeps every report: ("ok", body), ("answer", Answer) or a Failure, by index."""

    def __init__(
        self,
        count: int = 1,
        *,
        head: Head = APNS_HEAD,
        bodies: bytes | Sequence[bytes] = b"{}",
        expires_at: float | None = None,
        timeout: float | None = None,
        urgent: bool = False,
        wants_headers: bool = False,
    ) -> None:
        apns = head.id_name is not None
        super().__init__(
            head,
            count,
            bodies,
            paths=[b"%04x" % index for index in range(count)] if apns else None,
            ids=[b"id-%d" % index for index in range(count)] if apns else None,
            expires_at=expires_at,
            timeout=timeout,
            urgent=urgent,
            wants_headers=wants_headers,
        )
        self.reports: list[tuple[int, bytes | Answer | Failure]] = []
        self._changed = asyncio.Event()

    def on_ok(self, index: int, body: bytes) -> None:
        self._note(index, body)

    def on_answer(self, index: int, answer: Answer) -> None:
        self._note(index, answer)

    def on_failure(self, index: int, failure: Failure) -> None:
        self._note(index, failure)

    def _note(self, index: int, report: bytes | Answer | Failure) -> None:
        self.reports.append((index, report))
        self._changed.set()

    async def reported(self, count: int | None = None) -> None:
        """Wait for this many reports; all by default."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.reports) < (self.count if count is None else count):
                self._changed.clear()
                await self._changed.wait()

    def report(self, index: int = 0) -> bytes | Answer | Failure:
        """The only report of a request."""
        found = [report for which, report in self.reports if which == index]
        assert len(found) == 1
        return found[0]

    def answer(self, index: int = 0) -> Answer:
        """The request's answer, which is not a plain 200."""
        report = self.report(index)
        assert isinstance(report, Answer)
        return report

    def failure(self, index: int = 0) -> Failure:
        """Why the request failed."""
        report = self.report(index)
        assert isinstance(report, Failure)
        return report

    def kinds(self) -> list[FailureKind | str]:
        """What became of each request, by index."""
        return [_kind(self.report(index)) for index in range(self.count)]


def _kind(report: bytes | Answer | Failure) -> FailureKind | str:
    if isinstance(report, Failure):
        return report.kind
    return "answer" if isinstance(report, Answer) else "ok"
