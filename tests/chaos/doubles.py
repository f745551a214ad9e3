"""How often each recipient got a push, against how often the record explains; and whether it was meant for them."""

from collections import Counter
from collections.abc import Iterator, Mapping

from tests.chaos.evidence import Evidence
from tests.chaos.history import Sent
from tests.chaos.record import PushRecord


def check_doubles(evidence: Evidence, sent: Sent, push: PushRecord, outcomes: Mapping[str, str]) -> int:
    """Check the arrivals of a push; how many repetitions are explained. `outcomes` are the ends by recipient."""
    arrivals = evidence.arrivals[push.uid]
    arrived = Counter(evidence.recipient(each.token) for each in arrivals)
    allowed = _allowed(evidence, push)
    explained = 0
    for recipient, outcome in outcomes.items():
        if outcome == "accepted" and not arrived[recipient]:
            story = evidence.story(push, recipient)
            evidence.find("lost", push.uid, f"{recipient} is recorded as accepted and did not arrive: {story}")
    for recipient, count in arrived.items():
        if sent.push.at_most_once and count > 1:
            evidence.find("unexplained", push.uid, f"{recipient} got an at_most_once push {count} times")
        elif count > allowed[recipient]:
            text = f"{recipient} got it {count} times, {allowed[recipient]} are explained"
            evidence.find("unexplained", push.uid, f"{text}: {evidence.story(push, recipient)}")
        else:
            explained += count - 1
    for text in (*_ids(evidence, push), *_meant(evidence, sent)):
        evidence.find("unexplained", push.uid, text)
    return explained


def _allowed(evidence: Evidence, push: PushRecord) -> Counter[str]:
    """How often each recipient may have got it: accepted, unknown, or in a claim that ended with its process."""
    allowed: Counter[str] = Counter()
    for attempt in evidence.attempts[push.id]:
        claims = len(evidence.abandoned.get(attempt.batch_id, ()))
        for position, recipient in enumerate(attempt.recipients):
            outcome, reason = attempt.ends.get(position, ("accepted", ""))
            allowed[recipient] += claims + evidence.may_have_arrived(attempt, outcome, reason)
    return allowed


def _ids(evidence: Evidence, push: PushRecord) -> Iterator[str]:
    """APNs ids name batch and attempt: each arrives once at most, and of an attempt that took place."""
    seen: Counter[str] = Counter()
    for arrival in evidence.arrivals[push.uid]:
        message_id = arrival.message_id
        if arrival.provider != "apns":
            continue
        seen[message_id] += 1
        if seen[message_id] == 2:
            yield f"apns-id {message_id} arrived twice"
        suffix = int(message_id.replace("-", "")[-12:], 16)
        batch, number = suffix >> 22, (suffix >> 16) & 63
        if message_id[:24] != push.id[:24]:
            yield f"apns-id {message_id} is not of push {push.id}"
        attempt = evidence.settled.get((batch, number))
        recipient = evidence.recipient(arrival.token)
        if attempt is None:
            if not any(claim.attempt == number for claim in evidence.abandoned.get(batch, ())):
                yield f"apns-id {message_id}: batch {batch} was not settled in attempt {number}, nobody was killed"
        elif recipient not in attempt.recipients:
            yield f"apns-id {message_id} arrived at {recipient}, who is not in batch {batch}"
        else:
            outcome, reason = attempt.end(recipient)
            if not evidence.may_have_arrived(attempt, outcome, reason):
                story = evidence.story(push, recipient)
                yield f"apns-id {message_id} arrived and is recorded as {outcome} ({reason}): {story}"


def _meant(evidence: Evidence, sent: Sent) -> Iterator[str]:
    """A template says whom it was rendered for."""
    for arrival in evidence.arrivals[sent.push.uid]:
        wanted = evidence.recipient(arrival.token) if sent.push.templated else ""
        if arrival.who != wanted:
            yield f"{wanted or 'nobody'} got what was rendered for {arrival.who or 'nobody'}"
