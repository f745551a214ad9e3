"""One request by itself, for checks: the answer is awaited instead of called back."""

import asyncio

from delivery.http2 import Answer, Failure, Group, Head
from delivery.providers.transport import Transport


class _Probe(Group):
    __slots__ = ("done",)

    def __init__(self, head: Head, body: bytes, path: bytes | None, own_id: bytes | None) -> None:
        super().__init__(
            head,
            1,
            body,
            paths=None if path is None else [path],
            ids=None if own_id is None else [own_id],
            urgent=True,
            wants_headers=True,
        )
        self.done: asyncio.Future[Answer | Failure] = asyncio.get_running_loop().create_future()

    def on_answer(self, index: int, answer: Answer) -> None:
        """Any status."""
        self._end(answer)

    def on_failure(self, index: int, failure: Failure) -> None:
        """No answer."""
        self._end(failure)

    def _end(self, what: Answer | Failure) -> None:
        if not self.done.done():
            self.done.set_result(what)


async def ask(
    pool: Transport, head: Head, body: bytes, path: bytes | None = None, own_id: bytes | None = None
) -> Answer | Failure:
    """Send one request and wait for what comes of it; cancelled, it is not sent any more."""
    probe = _Probe(head, body, path, own_id)
    pool.submit(probe)
    try:
        return await probe.done
    finally:
        pool.cancel(probe)
