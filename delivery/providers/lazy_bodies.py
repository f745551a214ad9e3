"""Bodies of requests that are made when they are sent, not when their batch is submitted."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import overload


class LazyBodies(Sequence[bytes]):
    """The bodies of a batch's requests; `parts` are the recipients of each by position, and more may be added."""

    def __init__(self, parts: list[list[int]]) -> None:
        self._parts = parts

    def __repr__(self) -> str:
        return f"<{len(self)} requests>"

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[bytes]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        return self.made(self._parts[index])

    @abstractmethod
    def made(self, part: list[int]) -> bytes:
        """Make the body of the request for these recipients."""
