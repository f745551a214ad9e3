"""What to do about devices that are gone: what the push services say of tokens that are not refreshed.

FCM expires the token of an Android app that did not connect for 270 days; a token that was not refreshed for a month
or two is probably of an app that is gone. Source: https://firebase.google.com/docs/cloud-messaging/manage-tokens.
APNs publishes no such time: it answers 410 when a token is gone.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import msgspec

from storage.upkeep import DeviceCount

_EXPIRED_DAYS = 270
_PROBABLY_DAYS = 60
_SHARE = 5  # more than a fifth of a credential's devices: then upkeep buries none of them, see sql/upkeep.sql


class Advice(msgspec.Struct, frozen=True):
    """What was seen, and what to do about it."""

    said: str
    todo: str


def advice(counts: Sequence[DeviceCount]) -> list[Advice]:
    """One for each thing to do; none when all is well."""
    return [*_expired(counts), *_probably_gone(counts), *_failing(counts)]


def _expired(counts: Sequence[DeviceCount]) -> list[Advice]:
    found = _count(counts, lambda c: _is_fcm(c) and c.platform == "android" and c.age_days >= _EXPIRED_DAYS)
    if not found:
        return []
    return [
        Advice(
            f"{found:,} FCM devices on Android did not register for {_EXPIRED_DAYS} days or more; "
            "unless their apps were in use, FCM has expired their tokens",
            f"TOCSIN_STALE_DEVICE_DAYS={_EXPIRED_DAYS} removes devices that are silent for so long, of every provider",
        )
    ]


def _probably_gone(counts: Sequence[DeviceCount]) -> list[Advice]:
    def is_meant(c: DeviceCount) -> bool:
        told = c.platform == "android" and c.age_days >= _EXPIRED_DAYS
        return _is_fcm(c) and c.age_days >= _PROBABLY_DAYS and not told

    found = _count(counts, is_meant)
    if not found:
        return []
    return [
        Advice(
            f"{found:,} other FCM devices did not register for {_PROBABLY_DAYS} days or more; "
            "where apps register about once a month, as they should, these are probably gone",
            f"TOCSIN_STALE_DEVICE_DAYS={_PROBABLY_DAYS} removes devices that are silent for so long, of every provider",
        )
    ]


def _failing(counts: Sequence[DeviceCount]) -> list[Advice]:
    failing: dict[tuple[str, str], int] = defaultdict(int)
    every: dict[tuple[str, str], int] = defaultdict(int)
    for each in counts:
        if each.state != "dead":
            every[each.provider, each.provider_id] += each.devices
            failing[each.provider, each.provider_id] += each.devices * (each.state == "failing")
    return [
        Advice(
            f"{found:,} of the {every[which]:,} devices of {_named(*which)} are failing; "
            "more likely the credential is wrong than so many tokens",
            "see provider_check; until they are fewer than a fifth, none of them is removed",
        )
        for which, found in sorted(failing.items())
        if found * _SHARE > every[which]
    ]


def _named(provider: str, provider_id: str) -> str:
    return f"the {provider} credential {provider_id}" if provider_id else f"the default {provider} credential"


def _is_fcm(each: DeviceCount) -> bool:
    return each.provider == "fcm" and each.state != "dead"


def _count(counts: Sequence[DeviceCount], meant: Callable[[DeviceCount], bool]) -> int:
    return sum(each.devices for each in counts if meant(each))
