"""The calls of a run: how a change of a device and a push are said to the API."""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from tests.chaos.history import Sent
from tests.chaos.population import Change, Device

_HOUR = 3600
_PLATFORMS = {"apns": "ios", "fcm": "android", "webpush": "web", "hms": "android"}


def call_of(change: Change, device: Device, subscriptions: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The method and its parameters for a change of a device; `subscriptions` are those of Web Push by endpoint."""
    if change.verb == "remove":
        return "device_remove", {"ids": [device.id]}
    if change.verb == "leave":
        return "device_topic_update", {"device_id": device.id, "op": "set", "topics": []}
    whole: dict[str, Any] = {
        "id": device.id,
        "provider": device.provider,
        "platform": _PLATFORMS[device.provider],
        "token": subscriptions.get(change.token, change.token),
        "user": device.user,
        "topics": device.topics,
        "timezone": device.timezone,
    }
    return "device_register", whole


def params_of(sent: Sent, subscriptions: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of send_push_notification; the same at each call of one push."""
    push = sent.push
    recipients: dict[str, dict[str, Any]] = {
        "devices": {"device_ids": push.recipients},
        "users": {"users": push.recipients},
        "topic": {"channels": push.recipients},
        "filter": {"filter": {"topics": push.recipients, "platforms": ["ios", "android", "web"]}},
        "all": {"filter": {"all": True}},
        "condition": {"condition": _condition(push.recipients)},
        "raw": {f"{push.provider}_tokens": [subscriptions.get(each, each) for each in push.recipients]},
    }
    params: dict[str, Any] = {
        "uid": push.uid,
        "recipient": recipients[push.kind],
        "notification": _notification(sent),
        "delivery": "at_most_once" if push.at_most_once else "at_least_once",
        "send_at": sent.send_at,
        "expire_at": sent.expire_at,
        "max_rate": push.max_rate,
        "priority": push.priority or None,
        "use_templating": push.templated or None,
        "limit_strategy": _limit_strategy(sent),
    }
    return {name: value for name, value in params.items() if value is not None}


def _condition(topics: list[str]) -> str:
    """Of the first topic, and not of any other."""
    return (
        " && ".join([f"'{topics[0]}' in topics", *(f"!('{each}' in topics)" for each in topics[1:])]) if topics else ""
    )


def _notification(sent: Sent) -> dict[str, Any]:
    """What it says: its uid, and in a template whom it is for."""
    push = sent.push
    own = {"chaos": push.uid} | ({"who": "{{ device.id }}"} if push.templated else {})
    if push.neutral:
        return {"title": "x", "body": "y", "data": own}
    payloads: dict[str, Any] = {
        "apns": {"headers": {"apns-push-type": "alert"}, "payload": {"aps": {"alert": "x"}, **own}},
        "fcm": {"message": {"data": own}},
        "webpush": {"headers": {"Urgency": "high"}, "payload": own},
        "hms": {"message": {"data": msgspec.json.encode(own).decode()}},
    }
    return {push.provider: payloads[push.provider]} if push.provider else payloads


def _limit_strategy(sent: Sent) -> dict[str, Any] | None:
    limit, window = sent.push.limit, sent.push.window
    if limit is not None:
        policies = [{"rate": limit.rate, "interval_ms": limit.interval_ms}]
        return {"rate_limit": {"policies": policies, "drop_if_rate_limited": limit.drop}}
    if window is not None and sent.window_opens_at is not None:
        times = {
            "send_after_time": _of_day(sent.window_opens_at),
            "send_before_time": _of_day(sent.window_opens_at + _HOUR),
            "no_tz_send_now": window.no_zone_now,
        }
        return {"time_limit": times}
    return None


def _of_day(at: int) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(at))
