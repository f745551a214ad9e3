"""The order in which batches are encrypted: urgent ones first, a slice at a time, with the event loop between."""

import asyncio
from collections import deque

from delivery.providers.webpush_attempt import RELEASED, WebpushAttempt

SLICE = 16
"""Recipients that are encrypted in one go: 1 to 2 ms in which nothing else is done."""


class Sealing:
    """Works off the attempts that wait for encryption. Use it from the event loop."""

    def __init__(self) -> None:
        self._urgent: deque[WebpushAttempt] = deque()
        self._normal: deque[WebpushAttempt] = deque()
        self._turning = False

    @property
    def waiting(self) -> int:
        """Recipients that are not encrypted yet."""
        return sum(each.waiting for lane in (self._urgent, self._normal) for each in lane)

    def add(self, attempt: WebpushAttempt) -> None:
        """Encrypt and send it in its turn."""
        (self._urgent if attempt.urgent else self._normal).append(attempt)
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def close(self) -> None:
        """Give everything back."""
        while attempt := self._first():
            attempt.settle_waiting(RELEASED)

    def _turn(self) -> None:
        self._turning = False
        attempt = self._first()
        if attempt is None:
            return
        attempt.seal(SLICE)
        if self._first() is not None and not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _first(self) -> WebpushAttempt | None:
        """The attempt whose turn it is; those that have nothing left leave."""
        for lane in (self._urgent, self._normal):
            while lane:
                if lane[0].waiting:
                    return lane[0]
                lane.popleft()
        return None
