"""Who had to get a push, and who could: from the calls and their answers, which say between which times each held."""

from collections.abc import Iterable

import msgspec

from tests.chaos.deaths import Deaths
from tests.chaos.evidence import Evidence
from tests.chaos.history import Changed, Sent
from tests.chaos.population import Device
from tests.chaos.record import PushRecord

_REGISTERS = ("register", "token", "revive")


class Members(msgspec.Struct):
    """Recipients of a push; `leaving` are those that may have been removed before it was over."""

    sure: set[str]
    possible: set[str]
    leaving: set[str]


class Membership:
    """The devices' timelines."""

    def __init__(self, evidence: Evidence, deaths: Deaths) -> None:
        self._evidence = evidence
        self._changes = evidence.history.changes
        self._devices = evidence.devices
        self._deaths = deaths
        self._by_user: dict[str, list[Device]] = {}
        for device in self._devices.values():
            self._by_user.setdefault(device.user, []).append(device)

    def of(self, sent: Sent, push: PushRecord) -> Members:
        """The members of this push's audience, from its first call until it was planned."""
        if sent.push.kind == "raw":
            return Members(set(sent.push.recipients), set(sent.push.recipients), set())
        members = Members(set(), set(), set())
        end = self._evidence.planned_by(push)
        leaves = ("remove", "leave") if sent.push.kind in ("topic", "filter", "condition") else ("remove",)
        for device in self._audience(sent):
            changes = self._changes.get(device.id, [])
            if not changes:
                continue
            if any(change.verb == "remove" for change in changes):
                members.leaving.add(device.id)
            gone = any(change.answered_at <= sent.started_at for change in changes if change.verb in leaves)
            if changes[0].started_at > push.send_at or gone or self._deaths.buried(device.id, sent.started_at, end):
                continue
            members.possible.add(device.id)
            going = any(change.started_at <= end for change in changes if change.verb in leaves)
            going |= self._evidence.mistaken(device.provider, sent.started_at, end)  # refused, and taken back later
            if changes[0].answered_at <= sent.started_at and not going and not _may_be_dead(changes, sent, end):
                members.sure.add(device.id)
        return members

    def _audience(self, sent: Sent) -> Iterable[Device]:
        recipients = sent.push.recipients
        if sent.push.kind == "devices":
            return [self._devices[each] for each in recipients]
        if sent.push.kind == "users":
            return [device for user in recipients for device in self._by_user.get(user, [])]
        if sent.push.kind == "all":
            return list(self._devices.values())
        found = [device for device in self._devices.values() if recipients[0] in device.topics]
        if sent.push.kind == "condition":
            return [device for device in found if recipients[1] not in device.topics]
        return found


def _may_be_dead(changes: list[Changed], sent: Sent, end: float) -> bool:
    """Whether its token may have been known to be dead by then, and no registration was answered since."""
    for place, death in enumerate(changes):
        if death.proof == "after" and death.started_at <= end:
            later = changes[place + 1 :]
            if not any(each.verb in _REGISTERS and each.answered_at <= sent.started_at for each in later):
                return True
    return False
