"""Compares what was asked for, what the engine recorded and what arrived: nothing lost, nothing doubled unexplained."""

from collections import Counter, defaultdict
from collections.abc import Iterator

import msgspec

from tests.chaos.acting import History, Sent
from tests.chaos.membership import Membership
from tests.chaos.record import Attempt, Claim, PushRecord, Record, pending
from tests.chaos.script import Script
from tests.chaos.side import Arrival
from tests.chaos.world import World

UNKNOWN = {"Timeout", "StreamReset", "ConnectionLost", "NoAnswer", "UnreadableAnswer"}
"""Reasons of outcomes that say: it may have been taken."""
_LASTING = {"retry", "released"}  # not an end: the recipient is in a later batch
_CUTS = ("postgres", "cut", "stall")  # of every process from the database
_LEASE_SECONDS = 5.0
_CLOCK_SECONDS = 0.1  # a kill is noted just before or after it takes place
_LATE_SECONDS = 0.25  # between a check of the clock in one process and the note of another
_CANCEL_SECONDS = 2.0  # "effective within a second", a process that must notice, and what is in flight


class Finding(msgspec.Struct, frozen=True):
    """Something that must not be. `kind` is a column of the report."""

    kind: str  # lost, unexplained, unsettled, late
    push: str
    text: str


class Verdict(msgspec.Struct):
    """What a run came to."""

    findings: list[Finding] = []
    pushes: int = 0
    refused: int = 0
    recipients: int = 0
    arrivals: int = 0
    explained: int = 0
    ends: dict[str, int] = {}
    reasons: dict[str, int] = {}
    abandoned: int = 0
    unknown: int = 0

    def count(self, kind: str) -> int:
        """How many findings of this kind."""
        return sum(each.kind == kind for each in self.findings)


def judge_run(script: Script, world: World, history: History, record: Record) -> Verdict:
    """Check everything."""
    return _Judgement(script, world, history, record).verdict()


class _Judgement:
    def __init__(self, script: Script, world: World, history: History, record: Record) -> None:
        self._world, self._history, self._record = world, history, record
        self._membership = Membership(script, history)
        self._devices = {token: device.id for device in script.devices.values() for token in device.tokens}
        self._attempts: dict[str, list[Attempt]] = defaultdict(list)
        self._settled: dict[tuple[int, int], Attempt] = {}
        for attempt in record.attempts:
            self._attempts[attempt.push_id].append(attempt)
            self._settled[attempt.batch_id, attempt.attempt] = attempt
        self._arrivals: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in record.arrivals:
            self._arrivals[arrival.uid].append(arrival)
        self._verdict = Verdict()
        self._abandoned = self._abandoned_claims()

    def verdict(self) -> Verdict:
        """Judge push by push."""
        verdict = self._verdict
        verdict.arrivals = len(self._record.arrivals)
        verdict.abandoned = sum(map(len, self._abandoned.values()))
        for uid in self._arrivals.keys() - self._history.pushes.keys():
            self._find("unexplained", uid, "arrived, but nobody sent it")
        for sent in self._history.pushes.values():
            self._push(sent)
        for uid in self._record.pushes.keys() - self._history.pushes.keys():
            self._find("unexplained", uid, "stored, but nobody sent it")
        return verdict

    def _find(self, kind: str, push: str, text: str) -> None:
        self._verdict.findings.append(Finding(kind, push, text))

    def _push(self, sent: Sent) -> None:
        uid, push = sent.push.uid, self._record.pushes.get(sent.push.uid)
        if sent.refused:
            self._verdict.refused += 1
            if push is not None:
                self._find("unexplained", uid, f"refused ({sent.refused}) and stored")
            return
        self._verdict.pushes += 1
        if push is None:
            self._find("lost", uid, "accepted and not stored")
            return
        self._settlement(push)
        ends = self._ends(push)
        self._recipients(sent, push, ends)
        self._doubles(sent, push, ends)
        self._times(sent)

    def _settlement(self, push: PushRecord) -> None:
        if push.state not in ("done", "cancelled"):
            self._find("unsettled", push.uid, f"its state is {push.state}")
        if pending(push) or push.planned != push.settled or push.planned != push.ledger.get("planned", 0):
            self._find("unsettled", push.uid, f"the ledger: {push.planned} {push.settled} {push.ledger}")

    def _ends(self, push: PushRecord) -> dict[str, tuple[str, str]]:
        """The end of each recipient by the record: (outcome, reason)."""
        ends: dict[str, tuple[str, str]] = {}
        for attempt in self._attempts[push.id]:
            for position, recipient in enumerate(attempt.recipients):
                outcome, reason = attempt.ends.get(position, ("accepted", ""))
                self._verdict.unknown += reason in UNKNOWN
                if outcome != "accepted":
                    word = f"{outcome} {reason}"
                    self._verdict.reasons[word] = self._verdict.reasons.get(word, 0) + 1
                if outcome in _LASTING:
                    continue
                if recipient in ends:
                    self._find(
                        "unexplained", push.uid, f"{recipient} ended twice: {ends[recipient]}, {outcome} {reason}"
                    )
                ends[recipient] = outcome, reason
        self._verdict.recipients += push.planned
        return ends

    def _recipients(self, sent: Sent, push: PushRecord, ends: dict[str, tuple[str, str]]) -> None:
        cancelled = push.state == "cancelled"
        counts = Counter("failed" if outcome == "dead" else outcome for outcome, _ in ends.values())
        for outcome in ("accepted", "failed", "expired", "suppressed", "dropped"):
            if counts[outcome] != push.ledger.get(outcome, 0):
                self._find("unsettled", push.uid, f"{outcome}: {counts[outcome]} recorded, ledger {push.ledger}")
        if not cancelled and len(ends) != push.planned:
            self._find("lost", push.uid, f"{push.planned} were planned, {len(ends)} came to an end")
        for outcome, count in counts.items():
            self._verdict.ends[outcome] = self._verdict.ends.get(outcome, 0) + count
        self._verdict.ends["cancelled"] = self._verdict.ends.get("cancelled", 0) + (
            push.ledger.get("cancelled", 0) - counts["cancelled"]
        )
        members = self._membership.of(sent, push)
        absent = set() if cancelled else members.sure - ends.keys()
        for recipient in absent:
            self._find("lost", push.uid, f"{recipient} was there and is not in the record")
        for recipient in ends.keys() - members.possible:
            self._find("unexplained", push.uid, f"{recipient} was not there and is in the record: {ends[recipient]}")
        for recipient, (outcome, reason) in ends.items():
            if not _fits(sent, outcome, reason, recipient in members.leaving):
                self._find("lost", push.uid, f"{recipient} ended as {outcome} ({reason})")

    def _doubles(self, sent: Sent, push: PushRecord, ends: dict[str, tuple[str, str]]) -> None:
        arrived = Counter(self._devices.get(each.token, each.token) for each in self._arrivals[push.uid])
        allowed = self._allowed(push)
        for recipient, (outcome, _) in ends.items():
            if outcome == "accepted" and not arrived[recipient]:
                self._find("lost", push.uid, f"{recipient} is recorded as accepted and did not arrive")
        for recipient, count in arrived.items():
            if sent.push.at_most_once and count > 1:
                self._find("unexplained", push.uid, f"{recipient} got an at_most_once push {count} times")
            elif count > allowed[recipient]:
                text = f"{recipient} got it {count} times, {allowed[recipient]} are explained"
                self._find("unexplained", push.uid, f"{text}: {self._story(push, recipient)}")
            else:
                self._verdict.explained += count - 1
        for text in self._ids(push):
            self._find("unexplained", push.uid, text)

    def _allowed(self, push: PushRecord) -> Counter[str]:
        """How often each recipient may have got it: accepted, unknown, or in a claim that ended with its process."""
        allowed: Counter[str] = Counter()
        for attempt in self._attempts[push.id]:
            claims = len(self._abandoned.get(attempt.batch_id, ()))
            for position, recipient in enumerate(attempt.recipients):
                outcome, reason = attempt.ends.get(position, ("accepted", ""))
                allowed[recipient] += claims + (outcome == "accepted" or reason in UNKNOWN)
        return allowed

    def _abandoned_claims(self) -> dict[int, list[Claim]]:
        """Claims without a settlement that a kill explains, by batch; another one is a finding."""
        found: dict[int, list[Claim]] = defaultdict(list)
        over_at: dict[int, float] = {}
        for claim in reversed(self._record.claims):  # newest first: the next claim of a batch is the end of this one
            end = over_at.get(claim.batch_id, float("inf"))
            over_at[claim.batch_id] = claim.at
            if (claim.batch_id, claim.attempt) in self._settled:
                continue
            if self._cause(claim, end):
                found[claim.batch_id].append(claim)
            else:
                self._find("unexplained", "", f"batch {claim.batch_id}: the claim {claim} ended, and nobody was killed")
        return found

    def _cause(self, claim: Claim, end: float) -> bool:
        """Whether its process was killed, or the database under it, between the claim and the next one."""
        worker = claim.worker.removeprefix("tocsin ")
        life = next((each for each in self._world.lives if each.name == worker), None)
        if life is not None and life.killed and claim.at - _CLOCK_SECONDS <= life.ended_at <= end:
            return True
        others = [
            each for each in self._world.kills if each.kind in _CUTS or (each.kind == "freeze" and each.name == worker)
        ]
        return any(each.at <= end and claim.at - _CLOCK_SECONDS <= each.over_at for each in others)

    def _ids(self, push: PushRecord) -> Iterator[str]:
        """APNs ids name batch, attempt and position: each arrives once at most, and of an attempt that took place."""
        ids = Counter(each.message_id for each in self._arrivals[push.uid] if each.provider == "apns")
        for message_id, count in ids.items():
            if count > 1:
                yield f"apns-id {message_id} arrived {count} times"
            suffix = int(message_id.replace("-", "")[-12:], 16)
            batch, number, position = suffix >> 22, (suffix >> 16) & 63, suffix & 0xFFFF
            if message_id[:24] != push.id[:24]:
                yield f"apns-id {message_id} is not of push {push.id}"
            attempt = self._settled.get((batch, number))
            if attempt is None:
                if not any(claim.attempt == number for claim in self._abandoned.get(batch, ())):
                    yield f"apns-id {message_id}: batch {batch} was not settled in attempt {number}, nobody was killed"
                continue
            outcome, reason = attempt.ends.get(position, ("accepted", ""))
            if outcome != "accepted" and reason not in UNKNOWN:
                yield f"apns-id {message_id} arrived and is recorded as {outcome} ({reason})"

    def _times(self, sent: Sent) -> None:
        for arrival in self._arrivals[sent.push.uid]:
            if sent.expire_at is not None and arrival.at > sent.expire_at + _LATE_SECONDS:
                self._find("late", sent.push.uid, f"{arrival.at - sent.expire_at:.2f} s after its expire_at")
            late = arrival.at - self._noticed_at(sent.cancelled_at)
            if late > _CANCEL_SECONDS:
                self._find("late", sent.push.uid, f"{late:.2f} s after it was cancelled")
            if sent.send_at is not None and arrival.at < sent.send_at - _LATE_SECONDS:
                self._find("late", sent.push.uid, f"{sent.send_at - arrival.at:.2f} s before its send_at")

    def _noticed_at(self, cancelled_at: float) -> float:
        """When senders could know of a cancellation: not while the database or its connections are gone."""
        at = cancelled_at
        for kill in self._world.kills:
            if kill.kind in (*_CUTS, "freeze") and kill.at - 1 <= at <= kill.over_at + _LEASE_SECONDS:
                at = max(at, kill.over_at + _LEASE_SECONDS)
        return at

    def _story(self, push: PushRecord, recipient: str) -> str:
        words = []
        for attempt in self._attempts[push.id]:
            if recipient in attempt.recipients:
                outcome = attempt.ends.get(attempt.recipients.index(recipient), ("accepted", ""))
                claims = [
                    f"{each.attempt} by {each.worker} at {each.at:.3f}"
                    for each in self._record.claims
                    if each.batch_id == attempt.batch_id
                ]
                words.append(f"batch {attempt.batch_id}/{attempt.attempt} {outcome} {attempt.settled_at:.3f} {claims}")
        at = [
            f"{each.at:.3f} {each.message_id}"
            for each in self._arrivals[push.uid]
            if self._devices.get(each.token, each.token) == recipient
        ]
        return f"{words}; arrivals {at}"


def _fits(sent: Sent, outcome: str, reason: str, leaving: bool) -> bool:
    """Whether this is an end that this push may have."""
    if outcome == "accepted":
        return True
    if outcome == "failed":
        return sent.push.at_most_once and (reason in UNKNOWN or reason == "Unknown")
    if outcome == "expired":
        return sent.expire_at is not None
    if outcome == "cancelled":
        return sent.push.cancel_after is not None
    return outcome == "suppressed" and leaving
