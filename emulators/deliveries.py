"""Finds messages that one device accepted twice, over runs of any length."""

from collections.abc import Iterable

import msgspec

MAX_DOUBLED = 10_000


class Delivery(msgspec.Struct, gc=False):
    """A message that a token accepted more than once: how often."""

    token: str
    message_id: str
    accepted: int


class Deliveries:
    """The newest `window` to twice as many accepted (token, message) pairs, as hashes; and the doubled ones in words.

    What is doubled further apart than the window is missed, so `forgotten` says how many pairs have left it. Memory:
    about 100 bytes a pair, and at most 10,000 doubled pairs.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._newer: set[int] = set()
        self._older: set[int] = set()
        self._doubled: dict[tuple[str, str], int] = {}
        self.duplicates = 0
        self.forgotten = 0

    def accepted(self, token: str, message_id: str) -> None:
        """Take note of one that was accepted."""
        pair = (token, message_id)
        # 64 bits: among a million pairs two differing ones meet once in tens of millions of runs.
        mark = hash(pair)
        if mark not in self._newer and mark not in self._older:
            self._remember(mark)
            return
        self.duplicates += 1
        if pair in self._doubled or len(self._doubled) < MAX_DOUBLED:
            self._doubled[pair] = self._doubled.get(pair, 1) + 1

    def doubled(self) -> Iterable[Delivery]:
        """The pairs that came more than once, oldest first."""
        return (Delivery(token, message_id, count) for (token, message_id), count in self._doubled.items())

    def _remember(self, mark: int) -> None:
        self._newer.add(mark)
        if len(self._newer) >= self._window:
            self.forgotten += len(self._older)
            self._older, self._newer = self._newer, set()
