"""What a run left behind, arranged for the judge, and the causes that explain what is not plain."""

from collections import defaultdict

import msgspec

from tests.chaos.history import History
from tests.chaos.population import Device
from tests.chaos.record import Attempt, Claim, PushRecord, Record
from tests.chaos.script import Script
from tests.chaos.side import Arrival
from tests.chaos.storms import SERVICES, WRONG
from tests.chaos.world import World

UNKNOWN = {"Timeout", "StreamReset", "ConnectionLost", "NoAnswer", "UnreadableAnswer"}
"""Reasons of outcomes that say: it may have been taken."""
CUTS = ("postgres", "cut", "stall")  # of every process from the database
CLOCK_SECONDS = 0.1  # a kill is noted just before or after it takes place
_READ_SECONDS = 1.0  # from the beginning of a transaction until its statements see what they see
_AFTER_STORM_SECONDS = 30.0  # until a connection that went silent is given up: PING, its timeout, the request's


class Finding(msgspec.Struct, frozen=True):
    """Something that must not be. `kind` is a column of the report."""

    kind: str  # lost, unexplained, unsettled, late
    push: str
    text: str


class Evidence:
    """Everything by what it belongs to; findings come together here."""

    def __init__(self, script: Script, world: World, history: History, record: Record) -> None:
        self.script, self.world, self.history, self.record = script, world, history, record
        self.findings: list[Finding] = []
        self.devices: dict[str, Device] = script.devices
        self._owners = {token: device.id for device in script.devices.values() for token in device.tokens}
        self.attempts: dict[str, list[Attempt]] = defaultdict(list)
        self.settled: dict[tuple[int, int], Attempt] = {}
        for attempt in record.attempts:
            self.attempts[attempt.push_id].append(attempt)
            self.settled[attempt.batch_id, attempt.attempt] = attempt
        self.arrivals: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in record.arrivals:
            self.arrivals[arrival.uid].append(arrival)
        self.claims: dict[int, list[Claim]] = defaultdict(list)
        for claim in record.claims:
            self.claims[claim.batch_id].append(claim)
        self.abandoned = self._abandoned_claims()

    def find(self, kind: str, push: str, text: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(kind, push, text))

    def recipient(self, token: str) -> str:
        """The device that has a token, as recipients are called in the record; a raw token is its own name."""
        return self._owners.get(token, token)

    def claimed_at(self, attempt: Attempt) -> float:
        """When this attempt's batch was claimed for it."""
        return next((claim.at for claim in self.claims[attempt.batch_id] if claim.attempt == attempt.attempt), 0.0)

    def planned_by(self, push: PushRecord) -> float:
        """When its audience was certainly read: `planned_at` is when the transaction began that read the last page."""
        end = push.planned_at if push.planned_at is not None else float("inf")
        for kill in self.world.kills:
            if kill.kind in ("stall", "freeze") and kill.at <= end + _READ_SECONDS and end <= kill.over_at:
                end = max(end, kill.over_at)
        return end + _READ_SECONDS

    def mistaken(self, provider: str, start: float, end: float) -> bool:
        """Whether the provider's credential may have been a wrong one at some time between these."""
        return any(
            storm.name == WRONG
            and SERVICES[storm.service] == provider
            and storm.started_at <= end
            and start <= storm.ended_at + CLOCK_SECONDS
            for storm in self.history.storms
        )

    def lost_answers(self, attempt: Attempt) -> bool:
        """Whether a storm may have kept answers to this attempt from the engine."""
        begun = self.claimed_at(attempt) - CLOCK_SECONDS
        for storm in self.history.storms:
            ours = SERVICES[storm.service] == attempt.provider and storm.loses_answers
            if ours and storm.started_at <= attempt.settled_at and begun <= storm.ended_at + _AFTER_STORM_SECONDS:
                return True
        return any(
            kill.kind == "freeze" and kill.at <= attempt.settled_at and begun <= kill.over_at + self.world.lease_seconds
            for kill in self.world.kills
        )

    def may_have_arrived(self, attempt: Attempt, outcome: str, reason: str) -> bool:
        """Whether a recipient with this end in this attempt may have got it.

        Of one that is removed meanwhile the record does not say what came of the attempt before.
        """
        return outcome == "accepted" or reason in UNKNOWN or (outcome == "suppressed" and self.lost_answers(attempt))

    def story(self, push: PushRecord, recipient: str) -> str:
        """What is known of one recipient, for whoever looks into a finding."""
        words = []
        for attempt in self.attempts[push.id]:
            if recipient in attempt.recipients:
                claims = [f"{each.attempt} by {each.worker} at {each.at:.3f}" for each in self.claims[attempt.batch_id]]
                name = f"batch {attempt.batch_id}/{attempt.attempt} {attempt.credential}"
                words.append(f"{name} {attempt.end(recipient)} {attempt.settled_at:.3f} {claims}")
        at = [
            f"{each.at:.3f} {each.message_id}"
            for each in self.arrivals[push.uid]
            if self.recipient(each.token) == recipient
        ]
        changes = [f"{each.verb} {each.started_at:.3f}" for each in self.history.changes.get(recipient, [])]
        return f"{words}; arrivals {at}; {changes}"

    def _abandoned_claims(self) -> dict[int, list[Claim]]:
        """Claims without a settlement that a kill explains, by batch; another one is a finding."""
        found: dict[int, list[Claim]] = defaultdict(list)
        for batch_id, claims in self.claims.items():
            end = float("inf")
            for claim in reversed(claims):  # the next claim of a batch is the end of this one
                if (batch_id, claim.attempt) not in self.settled:
                    if self._cause(claim, end):
                        found[batch_id].append(claim)
                    else:
                        self.find("unexplained", "", f"batch {batch_id}: the claim {claim} ended, nobody was killed")
                end = claim.at
        return found

    def _cause(self, claim: Claim, end: float) -> bool:
        """Whether its process was killed, or the database under it, between the claim and the next one."""
        worker = claim.worker.removeprefix("tocsin ")
        life = next((each for each in self.world.lives if each.name == worker), None)
        if life is not None and life.killed and claim.at - CLOCK_SECONDS <= life.ended_at <= end:
            return True
        others = [
            each for each in self.world.kills if each.kind in CUTS or (each.kind == "freeze" and each.name == worker)
        ]
        return any(each.at <= end and claim.at - CLOCK_SECONDS <= each.over_at for each in others)
