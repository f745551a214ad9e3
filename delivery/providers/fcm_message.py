"""A push rendered for FCM: the caller's bytes with each recipient's address put into them (providers.md 2.2)."""

import re
from collections.abc import Sequence
from typing import overload

import msgspec

_ESCAPED = re.compile(rb'[\x00-\x1f"\\]')


class Spliced(Sequence[bytes]):
    """The request bodies of a batch, each made when it is written: the message's bytes with a target put into them."""

    __slots__ = ("_after", "_before", "_targets")

    def __init__(self, before: bytes, targets: list[bytes], after: bytes) -> None:
        self._before = before
        self._targets = targets
        self._after = after

    def __len__(self) -> int:
        return len(self._targets)

    @overload
    def __getitem__(self, key: int) -> bytes: ...

    @overload
    def __getitem__(self, key: slice) -> list[bytes]: ...

    def __getitem__(self, key: int | slice) -> bytes | list[bytes]:
        before, after = self._before, self._after
        if isinstance(key, int):
            return before + self._targets[key] + after
        return [before + target + after for target in self._targets[key]]


class FcmMessage:
    """A push rendered for one kind of target: what stands before and after each recipient's address."""

    __slots__ = ("after", "before")

    def __init__(self, message: bytes, target: str) -> None:
        fields = message[1:]
        comma = b"" if fields.lstrip().startswith(b"}") else b","
        self.before = b'{"message":{"' + target.encode() + b'":"'
        self.after = b'"' + comma + fields + b"}"

    def __repr__(self) -> str:
        return f"FcmMessage(bytes={len(self.after)})"

    def body(self, target: bytes) -> bytes:
        """The body for one target."""
        return self.bodies([target])[0]

    def bodies(self, targets: list[bytes]) -> Spliced:
        """A body for each target; the message's own bytes are never encoded anew."""
        if _ESCAPED.search(b"".join(targets)):
            targets = [msgspec.json.encode(target.decode("utf-8", "replace"))[1:-1] for target in targets]
        return Spliced(self.before, targets, self.after)
