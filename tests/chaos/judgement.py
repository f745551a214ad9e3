"""Compares what was asked for, what the engine recorded and what arrived: nothing lost, nothing doubled unexplained."""

from collections import Counter

import msgspec

from tests.chaos.deaths import Deaths, check_devices
from tests.chaos.doubles import check_doubles
from tests.chaos.evidence import UNKNOWN, Evidence, Finding
from tests.chaos.history import History, Sent
from tests.chaos.limits import check_limits, check_rate
from tests.chaos.membership import Membership
from tests.chaos.record import Attempt, PushRecord, Record, pending
from tests.chaos.script import Script
from tests.chaos.timing import check_times
from tests.chaos.world import World

_End = tuple[str, str, Attempt]
_LASTING = {"retry", "released", "held"}  # not an end: the recipient is in a later batch


class Verdict(msgspec.Struct):
    """What a run came to."""

    findings: list[Finding] = []
    pushes: int = 0
    refused: int = 0
    recipients: int = 0
    arrivals: int = 0
    arrived_at: dict[str, int] = {}
    explained: int = 0
    ends: dict[str, int] = {}
    reasons: dict[str, int] = {}
    abandoned: int = 0
    unknown: int = 0
    dead: int = 0

    def count(self, kind: str) -> int:
        """How many findings of this kind."""
        return sum(each.kind == kind for each in self.findings)


def judge_run(script: Script, world: World, history: History, record: Record) -> Verdict:
    """Check everything."""
    return _Judgement(Evidence(script, world, history, record)).verdict()


class _Judgement:
    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._deaths = Deaths(evidence)
        self._membership = Membership(evidence, self._deaths)
        self._verdict = Verdict()

    def verdict(self) -> Verdict:
        """Judge push by push, then what they share."""
        verdict, evidence = self._verdict, self._evidence
        pushes, record = evidence.history.pushes, evidence.record
        verdict.arrivals = len(record.arrivals)
        verdict.arrived_at = dict(Counter(each.provider for each in record.arrivals))
        verdict.abandoned = sum(map(len, evidence.abandoned.values()))
        for uid in evidence.arrivals.keys() - pushes.keys():
            evidence.find("unexplained", uid, "arrived, but nobody sent it")
        for sent in pushes.values():
            self._push(sent)
        for uid in record.pushes.keys() - pushes.keys():
            evidence.find("unexplained", uid, "stored, but nobody sent it")
        for pause in record.pauses:
            evidence.find("unsettled", "", f"still paused: {pause}")
        check_limits(evidence)
        verdict.dead = check_devices(evidence, self._deaths)
        verdict.findings = evidence.findings
        return verdict

    def _find(self, kind: str, push: str, text: str) -> None:
        self._evidence.find(kind, push, text)

    def _push(self, sent: Sent) -> None:
        uid, push = sent.push.uid, self._evidence.record.pushes.get(sent.push.uid)
        if sent.refused:
            self._verdict.refused += 1
            if push is not None:
                self._find("unexplained", uid, f"refused ({sent.refused}) and stored")
            return
        self._verdict.pushes += 1
        if push is None:
            self._find("lost", uid, "accepted and not stored")
            return
        self._settlement(sent, push)
        ends = self._ends(push)
        self._counts(push, ends)
        self._recipients(sent, push, ends)
        self._verdict.explained += check_doubles(self._evidence, sent, push, {who: end[0] for who, end in ends.items()})
        check_times(self._evidence, sent)
        check_rate(self._evidence, sent, push)

    def _settlement(self, sent: Sent, push: PushRecord) -> None:
        if push.state not in ("done", "cancelled"):
            self._find("unsettled", push.uid, f"its state is {push.state}")
        if pending(push) or push.planned != push.settled or push.planned != push.ledger.get("planned", 0):
            self._find("unsettled", push.uid, f"the ledger: {push.planned} {push.settled} {push.ledger}")
        if push.finished_at is None:
            self._find("unsettled", push.uid, f"it is {push.state} and was never finished")
        elif push.state != "cancelled" and push.finished_at > sent.cancelled_at:
            self._find("unsettled", push.uid, "it was cancelled before it was done, and is not")
        if sent.told_twice and '"duplicate":true' not in sent.told_twice:
            self._find("unexplained", push.uid, f"sent again it was answered {sent.told_twice}")

    def _ends(self, push: PushRecord) -> dict[str, _End]:
        """The end of each recipient by the record: (outcome, reason, attempt)."""
        ends: dict[str, _End] = {}
        for attempt in self._evidence.attempts[push.id]:
            self._unknown(push, attempt)
            for position, recipient in enumerate(attempt.recipients):
                outcome, reason = attempt.ends.get(position, ("accepted", ""))
                if outcome != "accepted":
                    word = f"{outcome} {reason}"
                    self._verdict.reasons[word] = self._verdict.reasons.get(word, 0) + 1
                if outcome in _LASTING:
                    continue
                if recipient in ends:
                    before = ends[recipient][:2]
                    self._find("unexplained", push.uid, f"{recipient} ended twice: {before}, {outcome} {reason}")
                ends[recipient] = outcome, reason, attempt
        self._verdict.recipients += push.planned
        return ends

    def _unknown(self, push: PushRecord, attempt: Attempt) -> None:
        unknown = [end for end in attempt.ends.values() if end[1] in UNKNOWN]
        self._verdict.unknown += len(unknown)
        if unknown and not self._evidence.lost_answers(attempt):
            text = f"batch {attempt.batch_id}/{attempt.attempt} {attempt.credential}: {dict(Counter(unknown))}"
            span = f"{self._evidence.claimed_at(attempt):.3f} to {attempt.settled_at:.3f}"
            self._find("unexplained", push.uid, f"{text}, and no storm took answers away, {span}")

    def _counts(self, push: PushRecord, ends: dict[str, _End]) -> None:
        counts = Counter("failed" if end[0] == "dead" else end[0] for end in ends.values())
        for outcome in ("accepted", "failed", "expired", "suppressed", "dropped"):
            if counts[outcome] != push.ledger.get(outcome, 0):
                self._find("unsettled", push.uid, f"{outcome}: {counts[outcome]} recorded, ledger {push.ledger}")
        if push.state != "cancelled" and len(ends) != push.planned:
            self._find("lost", push.uid, f"{push.planned} were planned, {len(ends)} came to an end")
        for outcome, count in counts.items():
            self._verdict.ends[outcome] = self._verdict.ends.get(outcome, 0) + count
        unclaimed = push.ledger.get("cancelled", 0) - counts["cancelled"]  # they left the queue without a word
        self._verdict.ends["cancelled"] = self._verdict.ends.get("cancelled", 0) + unclaimed

    def _recipients(self, sent: Sent, push: PushRecord, ends: dict[str, _End]) -> None:
        members = self._membership.of(sent, push)
        absent = set() if push.state == "cancelled" else members.sure - ends.keys()
        for recipient in absent:
            self._find("lost", push.uid, f"{recipient} was there and is not in the record")
        for recipient in ends.keys() - members.possible:
            story = self._evidence.story(push, recipient)
            self._find("unexplained", push.uid, f"{recipient} was not there and is in the record: {story}")
        for recipient, (outcome, reason, _) in ends.items():
            if not self._fits(sent, push, recipient, ends[recipient], leaving=recipient in members.leaving):
                story = self._evidence.story(push, recipient)
                self._find("lost", push.uid, f"{recipient} ended as {outcome} ({reason}): {story}")

    def _fits(self, sent: Sent, stored: PushRecord, recipient: str, end: _End, *, leaving: bool) -> bool:
        """Whether this is an end that this push may have for this recipient."""
        push, (outcome, reason, attempt) = sent.push, end
        if outcome == "dropped" and reason == "NoTimezone":
            device = self._evidence.devices[recipient]
            return push.window is not None and not push.window.no_zone_now and not device.timezone
        fits = {
            "accepted": True,
            "failed": push.at_most_once and (reason in UNKNOWN or reason == "Unknown"),
            "dead": self._deaths.explains(recipient, attempt, reason, stopped=leaving or stored.state == "cancelled"),
            "expired": sent.expire_at is not None,
            "cancelled": push.cancel_after is not None,
            "suppressed": leaving,
            "dropped": reason == "RateLimited" and push.limit is not None and push.limit.drop,
        }
        return fits.get(outcome, False)
