"""Rates: how many of a push with its own pace go in a second, and what a device may get of pushes with a rate limit."""

from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.evidence import CLOCK_SECONDS, CUTS, Evidence
from tests.chaos.history import Sent
from tests.chaos.pushing import Limit
from tests.chaos.record import Attempt, PushRecord

_SECOND = 1.0
_AHEAD_SECONDS = 0.2  # the pump lets go a tenth of a second ahead, and makes up for a tenth at most
_WRITTEN_SECONDS = 0.5  # between a claim's note, the answer it waits for, and the admission's own clock
_UNSENT = {"expired", "cancelled", "released", "held", "dropped"}
_Span = tuple[float, float]


def check_rate(evidence: Evidence, sent: Sent, push: PushRecord) -> None:
    """Check that a push with `max_rate` goes no faster.

    In any second no more recipients are claimed for the first time than the rate, twice what the pump may be ahead
    (once in that second, once waiting before it), and two portions. In any second no more arrive than that and what
    was in flight when it began, or was claimed again in it because its claim was abandoned.
    """
    rate = sent.push.max_rate
    if rate is None:
        return
    first, flying, again = _flights(evidence, push)
    bound = rate * (_SECOND + 2 * _AHEAD_SECONDS) + 2 * max(1, rate // 10)
    for start, count in _busiest(first):
        if count > bound:
            evidence.find("late", push.uid, f"{count} recipients claimed in a second from {start:.3f}, max_rate {rate}")
    arrivals = [(each.at, 1) for each in evidence.arrivals[push.uid]]
    for start, count in _busiest(arrivals):
        aloft = sum(number for (begun, over), number in flying if begun < start <= over)
        aloft += sum(number for at, number in again if start <= at <= start + _SECOND)
        if count > bound + aloft:
            evidence.find("late", push.uid, f"{count} arrivals in a second from {start:.3f}, max_rate {rate}, {aloft}")


def _flights(
    evidence: Evidence, push: PushRecord
) -> tuple[list[tuple[float, int]], list[tuple[_Span, int]], list[tuple[float, int]]]:
    """Claims of a push with what was sent: first ones, how long each was in flight, and repeated ones."""
    first, flying, again = [], [], []
    for attempt in evidence.attempts[push.id]:
        unsent = sum(outcome in _UNSENT for outcome, _ in attempt.ends.values())
        number, claims = len(attempt.recipients) - unsent, evidence.claims[attempt.batch_id]
        if claims and number:
            first.append((claims[0].at, number))
            again += [(claim.at, number) for claim in claims[1:]]
            ends = [claim.at for claim in claims[1:]] + [attempt.settled_at]
            flying += [((claim.at, end), number) for claim, end in zip(claims, ends, strict=True)]
    return first, flying, again


def _busiest(events: list[tuple[float, int]]) -> Iterator[tuple[float, int]]:
    """For each event, how many there are within a second from it: (time, number)."""
    events.sort()
    total, last = 0, 0
    for at, number in events:
        while last < len(events) and events[last][0] < at + _SECOND:
            total += events[last][1]
            last += 1
        yield at, total
        total -= number


def check_limits(evidence: Evidence) -> None:
    """Check what each device got of the pushes that share a rate limit, and that nothing was dropped for nothing."""
    limited: dict[tuple[bool, int, int], list[Sent]] = defaultdict(list)
    for sent in evidence.history.pushes.values():
        if sent.push.limit is not None and sent.push.uid in evidence.record.pushes:
            limit = sent.push.limit
            limited[limit.drop, limit.rate, limit.interval_ms].append(sent)
    for (drop, rate, interval_ms), pushes in limited.items():
        _check_limit(evidence, Limit(drop, rate, interval_ms), pushes)


def _check_limit(evidence: Evidence, limit: Limit, pushes: list[Sent]) -> None:
    tries: dict[str, dict[str, list[Attempt]]] = defaultdict(lambda: defaultdict(list))
    for sent in pushes:
        for attempt in evidence.attempts[evidence.record.pushes[sent.push.uid].id]:
            for recipient in attempt.recipients:
                tries[recipient][sent.push.uid].append(attempt)
    for recipient, by_push in tries.items():
        spans = {uid: _admitted(evidence, uid, recipient, attempts) for uid, attempts in by_push.items()}
        _check_spans(evidence, limit, recipient, [(span, uid) for uid, span in spans.items() if span is not None])
        for uid, attempts in by_push.items():
            dropped = [each for each in attempts if each.end(recipient) == ("dropped", "RateLimited")]
            if dropped and not _asked_twice(evidence, attempts):
                others = [each for other, tried in by_push.items() if other != uid for each in tried]
                _check_drop(evidence, limit, recipient, uid, dropped[0], others)


def _asked_twice(evidence: Evidence, attempts: list[Attempt]) -> bool:
    """Whether it may have been admitted before, and a crash came before that was noted: it then counts by itself."""
    if any(evidence.abandoned.get(attempt.batch_id) for attempt in attempts):
        return True
    begun = min(evidence.claims[attempt.batch_id][0].at for attempt in attempts)
    over = max(attempt.settled_at for attempt in attempts)
    return any(
        kill.kind in CUTS and kill.at <= over and begun - CLOCK_SECONDS <= kill.over_at for kill in evidence.world.kills
    )


def _admitted(evidence: Evidence, uid: str, recipient: str, attempts: list[Attempt]) -> _Span | None:
    """Between which times a push that arrived was admitted; None when it did not arrive."""
    arrived = [each.at for each in evidence.arrivals[uid] if evidence.recipient(each.token) == recipient]
    if not arrived:
        return None
    held = [place for place, attempt in enumerate(attempts) if attempt.end(recipient)[0] == "held"]
    free = attempts[held[-1] + 1 :] if held else attempts
    claimed = [claim.at for attempt in free for claim in evidence.claims[attempt.batch_id]]
    return min(claimed, default=0.0), min(arrived)


def _check_spans(evidence: Evidence, limit: Limit, recipient: str, spans: list[tuple[_Span, str]]) -> None:
    """No more than the rate were certainly admitted within one interval."""
    width = limit.interval_ms / 1000 - CLOCK_SECONDS
    spans.sort()
    for place, ((begun, _), uid) in enumerate(spans):
        within = [other for (_, over), other in spans[place:] if over < begun + width]
        if len(within) > limit.rate:
            text = f"{recipient} got {within} within {width:.1f} s, at most {limit.rate} may be"
            evidence.find("late", uid, f"{text}: {evidence.story(evidence.record.pushes[uid], recipient)}")


def _check_drop(
    evidence: Evidence, limit: Limit, recipient: str, uid: str, attempt: Attempt, others: list[Attempt]
) -> None:
    """What is dropped was one too many: others of that limit were admitted, or may have been, in its interval."""
    begun = evidence.claimed_at(attempt) - limit.interval_ms / 1000 - _WRITTEN_SECONDS
    counted = {
        each.push_id
        for each in others
        if each.settled_at >= begun
        and evidence.claims[each.batch_id][0].at <= attempt.settled_at
        and (each.end(recipient)[0] not in ("dropped", "held") or each.attempt > 1)
    }
    if len(counted) < limit.rate:
        text = f"{recipient} was dropped by a limit of {limit.rate}, which {len(counted)} other pushes used"
        evidence.find("lost", uid, f"{text}: {evidence.story(evidence.record.pushes[uid], recipient)}")
