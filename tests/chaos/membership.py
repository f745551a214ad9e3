"""Who had to get a push, and who could: from the calls and their answers, which say between which times each held."""

from collections.abc import Iterable

import msgspec

from tests.chaos.acting import Changed, History, Sent
from tests.chaos.record import PushRecord
from tests.chaos.script import Device, Script


class Members(msgspec.Struct):
    """Recipients of a push; `leaving` are those that may have been removed before it was over."""

    sure: set[str]
    possible: set[str]
    leaving: set[str]


class Membership:
    """The devices' timelines."""

    def __init__(self, script: Script, history: History) -> None:
        self._changes = history.changes
        self._devices = script.devices
        self._by_user: dict[str, list[Device]] = {}
        for device in script.devices.values():
            self._by_user.setdefault(device.user, []).append(device)

    def of(self, sent: Sent, push: PushRecord) -> Members:
        """The members of this push's audience, from its first call until it was planned."""
        kind = sent.push.kind
        if kind == "raw":
            return Members(set(sent.push.recipients), set(sent.push.recipients), set())
        members = Members(set(), set(), set())
        end = push.planned_at if push.planned_at is not None else float("inf")
        for device in self._audience(sent):
            changes = self._changes.get(device.id, [])
            if not changes:
                continue
            wide = kind in ("topic", "filter")
            if changes[0].started_at <= push.send_at and not _gone(changes, sent.started_at, wide):
                members.possible.add(device.id)
                if changes[0].answered_at <= sent.started_at and not _going(changes, end, wide):
                    members.sure.add(device.id)
            if any(change.verb == "remove" for change in changes):
                members.leaving.add(device.id)
        return members

    def _audience(self, sent: Sent) -> Iterable[Device]:
        recipients = sent.push.recipients
        if sent.push.kind == "devices":
            return [self._devices[each] for each in recipients]
        if sent.push.kind == "users":
            return [device for user in recipients for device in self._by_user.get(user, [])]
        return [device for device in self._devices.values() if recipients[0] in device.topics]


def _gone(changes: list[Changed], at: float, wide: bool) -> bool:
    """Whether it had certainly left by then."""
    return any(change.answered_at <= at for change in changes if _leaves(change, wide))


def _going(changes: list[Changed], at: float, wide: bool) -> bool:
    """Whether it may have left by then."""
    return any(change.started_at <= at for change in changes if _leaves(change, wide))


def _leaves(change: Changed, wide: bool) -> bool:
    return change.verb == "remove" or (wide and change.verb == "leave")
