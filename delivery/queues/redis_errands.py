"""Commands on their way to a server of Redis: sent in one trip, and where each has to go after what was answered."""

from collections.abc import Sequence
from typing import Any

from redis.exceptions import ClusterDownError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from delivery.queues.redis_errors import RedisScriptError, unavailable
from delivery.queues.redis_node import Command, Node
from delivery.queues.redis_script import Script


class Errand:
    """A command on its way, and where it has to go after what a server said."""

    __slots__ = ("answer", "asking", "key", "missing", "node", "script", "words")

    def __init__(self, words: Command, key: str | None = None, script: Script | None = None) -> None:
        self.words = words
        self.key = key
        self.script = script
        self.node: Node | None = None  # where it goes next, when that is not where its key is
        self.asking = False  # the slot is on its way there
        self.missing = False  # the server does not know the script
        self.answer: Any = None

    def commands(self) -> list[Command]:
        """Return what has to be sent; the last answer is the errand's."""
        return [("ASKING",), self.words] if self.asking else [self.words]

    def failed(self, error: Exception) -> Exception:
        """Return what this failure is to a caller."""
        if isinstance(error, ResponseError) and not unavailable(error):
            return RedisScriptError(f"{self.script.name if self.script else str(self.words[0])}: {error}")
        return error


async def send(node: Node, errands: Sequence[Errand]) -> None:
    """Send them in one trip, with the scripts that the server turned out not to know; their answers are with them."""
    sources = {each.script.source: None for each in errands if each.missing and each.script is not None}
    commands: list[Command] = [("SCRIPT", "LOAD", source) for source in sources]
    ends: list[int] = []
    for each in errands:
        commands += each.commands()
        ends.append(len(commands) - 1)
    try:
        answers = await node.exchange(commands)
    except (RedisError, OSError) as error:
        for each in errands:
            each.answer = error
    else:
        for each, end in zip(errands, ends, strict=True):
            each.answer = answers[end]


def is_lost(answer: object) -> bool:
    """Whether the server did not answer, or is no longer a master: another one may be by now."""
    return isinstance(answer, (RedisConnectionError, RedisTimeoutError, OSError, ReadOnlyError, ClusterDownError))


def good(answers: list[Any]) -> list[Any]:
    """Return the answers; raise the first that is an error."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers
