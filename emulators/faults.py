"""Scripted faults, the language of `POST /faults`: which requests are hit and what then goes wrong."""

import random
from collections.abc import Sequence

import msgspec
from h2.errors import ErrorCodes

MAX_RULES = 1000


def error_code(value: int | str) -> int:
    """An HTTP/2 error code from its number or its RFC 9113 name; ValueError for an unknown name."""
    if isinstance(value, int):
        return value
    try:
        return int(ErrorCodes[value.upper()])
    except KeyError:
        raise ValueError(f"unknown HTTP/2 error code {value!r}") from None


class Match(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Which requests a rule hits: all pushes, narrowed by every member given.

    `token_prefix` compares the device token (HMS: any of them; Web Push: the endpoint and its last part); `path_prefix`
    the path, and is also the way to hit what is not a push (the OAuth endpoint, say). Of the requests that fit, the
    first `skip` are spared, then each is hit with probability `rate` (repeatable: a generator seeded with `seed`), at
    most `count` in all.
    """

    token_prefix: str | None = None
    path_prefix: str | None = None
    rate: float | None = None
    seed: int = 0
    count: int | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 <= self.rate <= 1:
            raise ValueError("rate must be between 0 and 1")
        if self.skip < 0 or (self.count is not None and self.count < 0):
            raise ValueError("count and skip must not be negative")


class Goaway(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A GOAWAY: `last_stream_id` is a number, "true" (the highest stream seen) or "minus:N" (N streams before that)."""

    last_stream_id: int | str = "true"
    reason: str | None = None
    error_code: int | str = "NO_ERROR"

    def __post_init__(self) -> None:
        error_code(self.error_code)
        resolve_last_stream(self.last_stream_id, 1)

    @property
    def code(self) -> int:
        """The error code as its number."""
        return error_code(self.error_code)


class ShrinkSettings(msgspec.Struct, forbid_unknown_fields=True):
    """A new SETTINGS frame with another MAX_CONCURRENT_STREAMS (it may also grow)."""

    max_concurrent_streams: int

    def __post_init__(self) -> None:
        if self.max_concurrent_streams < 0:
            raise ValueError("max_concurrent_streams must not be negative")


class Action(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """What goes wrong. At most one ending (an answer, rst_stream, drop…, stall…, end_sending); the rest goes with any.

    An answer is `status` and/or `reason` (either implies the other where the provider's table knows it), with
    `timestamp_ms` (APNs 410), `details` (FCM; HMS: the illegal tokens), `retry_after` (seconds or HTTP date), `body`
    (own text) or `html` (a proxy's error page). Modifiers work on forced and on natural answers: `delay_ms`, `headers`,
    `split_body`,
    `bodyless`, `pad_length`, `informational` (a 1xx first), `trailers`, `shrink_settings`, `goaway`.

    `drop_after_body`, `stall`, `end_sending` and a delay let the request be processed first; `drop_connection`,
    `stall_connection` and `rst_stream` do not. Half-closed connections: after `end_sending` (FIN) the service reads and
    processes on and nobody hears of it; after `stop_reading` it sends the answers that are due and takes nothing more.
    """

    status: int | None = None
    reason: str | None = None
    timestamp_ms: int | None = None
    details: list[msgspec.Raw] | None = None
    retry_after: int | str | None = None
    body: str | None = None
    content_type: str | None = None
    html: bool = False
    headers: dict[str, str] = {}
    delay_ms: float = 0
    split_body: bool = False
    bodyless: bool = False
    pad_length: int = 0
    informational: int = 0
    trailers: bool = False
    rst_stream: int | str | None = None
    goaway: Goaway | None = None
    drop_after_body: bool = False
    drop_connection: bool = False
    stall: bool = False
    stall_connection: bool = False
    end_sending: bool = False
    stop_reading: bool = False
    shrink_settings: ShrinkSettings | None = None

    def __post_init__(self) -> None:
        endings = [self.forces_answer, self.rst_stream is not None, self.drop_after_body, self.drop_connection]
        if sum([*endings, self.stall, self.stall_connection, self.end_sending]) > 1:
            raise ValueError("an action has at most one ending: an answer, rst_stream, drop_…, stall… or end_sending")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError("status must be between 200 and 599")
        if self.informational and not 100 <= self.informational <= 199:
            raise ValueError("informational must be between 100 and 199")
        if not 0 <= self.pad_length <= 255 or self.delay_ms < 0:
            raise ValueError("pad_length must be 0 to 255 and delay_ms not negative")
        if self.rst_stream is not None:
            error_code(self.rst_stream)

    @property
    def forces_answer(self) -> bool:
        """Whether the answer is given by the rule and not by the provider's checks."""
        return self.status is not None or self.reason is not None or self.html

    @property
    def untold(self) -> str:
        """The fault that keeps the answer to a processed request from the client; '' without one."""
        if self.drop_after_body:
            return "drop_after_body"
        return "stall" if self.stall else "end_sending" if self.end_sending else ""

    @property
    def reset_code(self) -> int:
        """The error code of `rst_stream` as its number; CANCEL when there is none."""
        return error_code(self.rst_stream if self.rst_stream is not None else "CANCEL")


class Rule(msgspec.Struct, forbid_unknown_fields=True):
    """One line of the script: `match` and `action`."""

    action: Action
    match: Match = msgspec.field(default_factory=Match)


class AppliedRule(msgspec.Struct):
    """A rule as `GET /faults` shows it: with the number of requests it fitted and of those it hit."""

    match: Match
    action: Action
    matched: int
    hits: int


NOTHING = Action()


def resolve_last_stream(last: int | str, highest: int) -> int:
    """The number a GOAWAY carries, given the highest stream seen; ValueError when `last` is not understood."""
    if isinstance(last, int):
        number = last
    elif last == "true":
        number = highest
    elif last.startswith("minus:") and last[6:].isdigit():
        number = max(0, highest - 2 * int(last[6:]))
    else:
        raise ValueError('last_stream_id must be a number, "true" or "minus:N"')
    if not 0 <= number < 2**31:
        raise ValueError("last_stream_id must be between 0 and 2147483647")
    return number


class _LiveRule:
    """A rule with its generator and its counts."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.matched = 0
        self.hits = 0
        # A fault that repeats from run to run is the point here; nothing is secret.
        self._random = random.Random(rule.match.seed)  # noqa: S311

    def hit(self, tokens: Sequence[str], path: str, is_push: bool) -> bool:
        match = self.rule.match
        if not self._fits(match, tokens, path, is_push):
            return False
        self.matched += 1
        if self.matched <= match.skip or (match.count is not None and self.hits >= match.count):
            return False
        if match.rate is not None and self._random.random() >= match.rate:
            return False
        self.hits += 1
        return True

    @staticmethod
    def _fits(match: Match, tokens: Sequence[str], path: str, is_push: bool) -> bool:
        reached = is_push if match.path_prefix is None else path.startswith(match.path_prefix)
        prefix = match.token_prefix
        return reached and (prefix is None or any(token.startswith(prefix) for token in tokens))


class FaultPlan:
    """The rules in force. The first rule that hits a request decides; without one nothing goes wrong."""

    def __init__(self) -> None:
        self._rules: list[_LiveRule] = []

    def set(self, rules: list[Rule], append: bool = False) -> None:
        """Replace the rules, or add to them; counts of kept rules go on. ValueError above 1000 rules."""
        kept = self._rules if append else []
        if len(kept) + len(rules) > MAX_RULES:
            raise ValueError(f"at most {MAX_RULES} rules")
        self._rules = [*kept, *map(_LiveRule, rules)]

    def pick(self, tokens: Sequence[str], path: str, is_push: bool) -> Action:
        """The action for a request to these tokens."""
        for live in self._rules:
            if live.hit(tokens, path, is_push):
                return live.rule.action
        return NOTHING

    def describe(self) -> list[AppliedRule]:
        """The rules with their counts, in order."""
        return [AppliedRule(r.rule.match, r.rule.action, r.matched, r.hits) for r in self._rules]
