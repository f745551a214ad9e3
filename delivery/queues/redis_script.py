"""The Lua scripts that move batches in Redis, and what it takes to carry one out."""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from delivery.queues.redis_node import Word


class Script:
    """A script, known to the server by the SHA-1 of its text."""

    __slots__ = ("name", "sha", "source")

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    def __repr__(self) -> str:
        return f"Script({self.name})"


def load(name: str) -> Script:
    """Read the script `<name>.lua` beside this module."""
    return Script(name, (files("delivery.queues") / f"{name}.lua").read_text(encoding="utf-8"))


class Call(NamedTuple):
    """A script with its keys, which are all of one hash slot, and its arguments."""

    script: Script
    keys: Sequence[str]
    args: Sequence[Word]
