"""What makes an FCM v1 message acceptable: fields, target, data, platform blocks, sizes.

Source: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
"""

import re
from collections.abc import Callable, Mapping

import msgspec

from emulators.fcm_errors import FieldViolation

TARGETS = ("token", "fid", "topic", "condition")
DEVICE_LIMIT = 4096
TOPIC_LIMIT = 2048
MAX_TTL_SECONDS = 2_419_200

TOPIC_NAME = re.compile(r"[a-zA-Z0-9\-_.~%]{1,900}")
_TOKEN = re.compile(r"[A-Za-z0-9_:.~%=+/\-]{1,4096}")
_LABEL = re.compile(r"[a-zA-Z0-9\-_.~%]{1,50}")
_TTL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?s")
_CAPITAL = re.compile(r"[A-Z]")
_CONDITION_TOPIC = re.compile(r"'([^']*)'\s+in\s+topics")
_RESERVED_KEYS = frozenset({"from", "message_type"})
_RESERVED_PREFIXES = ("google", "gcm")

Fields = dict[str, object]


class _Report:
    """Collects what is wrong with a message."""

    def __init__(self) -> None:
        self.violations: list[FieldViolation] = []

    def add(self, field: str, description: str) -> None:
        self.violations.append(FieldViolation(field, description))


_Check = Callable[[str, object, _Report], None]


def check_body(payload: Fields) -> list[FieldViolation]:
    """Everything that is wrong with a send request; sizes apart (see `oversized`)."""
    report = _Report()
    for name, value in payload.items():
        field = snake(name)
        if field not in {"message", "validate_only"}:
            report.add("", f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        elif field == "validate_only":
            _flag(field, value, report)
    message = payload.get("message")
    if not isinstance(message, dict):
        report.add("message", "Message is required")
        return report.violations
    return report.violations + check_message(message)


def is_dry_run(payload: Fields) -> bool:
    """Whether the request is to be checked only."""
    return True in (payload.get("validate_only"), payload.get("validateOnly"))


def check_message(message: Fields) -> list[FieldViolation]:
    """Everything that is wrong with a message, target first; sizes apart (see `oversized`)."""
    report = _Report()
    named = _named(message)
    _target(named, report)
    _walk("message", named, _MESSAGE, report)
    if "android" in named and "android_v2" in named:
        report.add("message.android_v2", "Only one of android and android_v2 may be set")
    return report.violations


def target(message: Fields) -> tuple[str, str]:
    """The kind and the text of a message's target; empty when there is none or it is no text."""
    for kind in TARGETS:
        value = message.get(kind)
        if isinstance(value, str) and value:
            return kind, value
    return "", ""


def oversized(payload: Fields) -> bool:
    """Whether the message without its target is larger than devices (4096 bytes) or topics (2048) take."""
    message = payload.get("message")
    if not isinstance(message, dict):
        return False
    kind, _ = target(message)
    content = {key: value for key, value in message.items() if key not in TARGETS}
    limit = TOPIC_LIMIT if kind in {"topic", "condition"} else DEVICE_LIMIT
    return len(msgspec.json.encode(content)) > limit


def snake(name: str) -> str:
    """A field name in the spelling of the protocol buffers; camelCase is understood as well."""
    return _CAPITAL.sub(lambda match: "_" + match[0].lower(), name)


def _named(fields: Fields) -> Fields:
    return {snake(name): value for name, value in fields.items()}


def _target(message: Fields, report: _Report) -> None:
    given = [kind for kind in TARGETS if message.get(kind) not in (None, "")]
    if len(given) != 1:
        text = "Exactly one of token, fid, topic or condition is required"
        report.add("message", text if given else "Recipient of the message is not set.")
        return
    kind, value = given[0], message[given[0]]
    if not isinstance(value, str):
        report.add(f"message.{kind}", "must be a string")
    elif kind in {"token", "fid"} and not _TOKEN.fullmatch(value):
        report.add(f"message.{kind}", "The registration token is not a valid FCM registration token")
    elif kind == "topic" and not TOPIC_NAME.fullmatch(value):
        report.add("message.topic", "Invalid topic name")
    elif kind == "condition" and not _sound_condition(value):
        report.add("message.condition", "Invalid condition expression provided.")


def _sound_condition(text: str) -> bool:
    topics = _CONDITION_TOPIC.findall(text)
    rest = re.sub(r"[\s()!]|&&|\|\|", "", _CONDITION_TOPIC.sub("", text))
    return bool(topics) and not rest and text.count("(") == text.count(")") and all(map(TOPIC_NAME.fullmatch, topics))


def _walk(path: str, fields: Fields, known: Mapping[str, _Check], report: _Report) -> None:
    for name, value in fields.items():
        check = known.get(name)
        if check is None:
            report.add(path, f"Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field.")
        elif value is not None:
            check(f"{path}.{name}", value, report)


def _text(path: str, value: object, report: _Report) -> None:
    if not isinstance(value, str):
        report.add(path, "must be a string")


def _flag(path: str, value: object, report: _Report) -> None:
    if not isinstance(value, bool):
        report.add(path, "must be true or false")


def _number(path: str, value: object, report: _Report) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        report.add(path, "must be a number")


def _any_object(path: str, value: object, report: _Report) -> None:
    if not isinstance(value, dict):
        report.add(path, "must be an object")


def _texts(path: str, value: object, report: _Report) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        report.add(path, "must be a list of strings")


def _text_map(path: str, value: object, report: _Report) -> None:
    if not isinstance(value, dict):
        report.add(path, "must be an object")
        return
    for key, item in value.items():
        if not isinstance(item, str):
            report.add(f"{path}[{key}]", f"Invalid value at '{path}[{key}]' (TYPE_STRING)")


def _data(path: str, value: object, report: _Report) -> None:
    _text_map(path, value, report)
    for key in value if isinstance(value, dict) else ():
        if key in _RESERVED_KEYS or key.startswith(_RESERVED_PREFIXES):
            report.add(path, f"Invalid data payload key: {key}")


def _ttl(path: str, value: object, report: _Report) -> None:
    if not isinstance(value, str) or not _TTL.fullmatch(value):
        report.add(path, "Illegal duration format; duration must end with 's'")
    elif float(value[:-1]) > MAX_TTL_SECONDS:
        report.add(path, "Invalid ttl: it must be between 0 and 2419200 seconds")


def _label(path: str, value: object, report: _Report) -> None:
    if not isinstance(value, str) or not _LABEL.fullmatch(value):
        report.add(path, "Invalid analytics label")


def _one_of(*names: str) -> _Check:
    def check(path: str, value: object, report: _Report) -> None:
        if not isinstance(value, str) or value.upper() not in names:
            report.add(path, f"must be one of {', '.join(names)}")

    return check


def _block(known: Mapping[str, _Check]) -> _Check:
    def check(path: str, value: object, report: _Report) -> None:
        if not isinstance(value, dict):
            report.add(path, "must be an object")
        else:
            _walk(path, _named(value), known, report)

    return check


def _texts_named(*names: str) -> dict[str, _Check]:
    return dict.fromkeys(names, _text)


_LABELLED = _block({"analytics_label": _label})

_ANDROID_NOTIFICATION: dict[str, _Check] = {
    **_texts_named("title", "body", "icon", "color", "sound", "tag", "click_action", "body_loc_key", "title_loc_key"),
    **_texts_named("channel_id", "ticker", "event_time", "image"),
    **dict.fromkeys(("body_loc_args", "title_loc_args", "vibrate_timings"), _texts),
    **dict.fromkeys(("sticky", "local_only", "default_sound", "default_vibrate_timings"), _flag),
    **dict.fromkeys(("default_light_settings", "bypass_proxy_notification"), _flag),
    "notification_count": _number,
    "light_settings": _any_object,
    "notification_priority": _one_of(
        "PRIORITY_UNSPECIFIED", "PRIORITY_MIN", "PRIORITY_LOW", "PRIORITY_DEFAULT", "PRIORITY_HIGH", "PRIORITY_MAX"
    ),
    "visibility": _one_of("VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"),
    "proxy": _one_of("PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"),
}

_ANDROID: dict[str, _Check] = {
    **_texts_named("collapse_key", "restricted_package_name"),
    **dict.fromkeys(("direct_boot_ok", "bandwidth_constrained_ok", "restricted_satellite_ok"), _flag),
    "priority": _one_of("NORMAL", "HIGH"),
    "ttl": _ttl,
    "data": _data,
    "notification": _block(_ANDROID_NOTIFICATION),
    "fcm_options": _LABELLED,
}

_APNS: dict[str, _Check] = {
    "headers": _text_map,
    "payload": _any_object,
    "live_activity_token": _text,
    "fcm_options": _block({"analytics_label": _label, "image": _text}),
}

_WEBPUSH: dict[str, _Check] = {
    "headers": _text_map,
    "data": _text_map,
    "notification": _any_object,
    "fcm_options": _block({"analytics_label": _label, "link": _text}),
}

_MESSAGE: dict[str, _Check] = {
    **_texts_named(*TARGETS, "name"),
    "data": _data,
    "notification": _block(_texts_named("title", "body", "image")),
    "android": _block(_ANDROID),
    "android_v2": _block({"remote_notification": _any_object, "background_sync": _any_object}),
    "apns": _block(_APNS),
    "webpush": _block(_WEBPUSH),
    "fcm_options": _LABELLED,
}
