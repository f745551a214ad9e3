"""What makes an HMS message acceptable: recipients, structure, Android's options, size.

Source: https://developer.huawei.com/consumer/en/doc/HMSCore-References/https-send-api-0000001050986197. Fields that are
not named there are ignored, as Huawei does.
"""

import hashlib
import re
from collections.abc import Callable, Iterator

import msgspec

from emulators.hms_errors import Refusal

MAX_TOKENS = 1000
MAX_BYTES = 4096
MAX_TTL_SECONDS = 15 * 86_400
MAX_CONDITION_TOPICS = 5
TARGETS = ("token", "topic", "condition")
TOPIC_NAME = re.compile(r"[\w\-.~%]{1,900}")
_TTL = re.compile(r"([0-9]{1,9})(\.[0-9]{1,9})?s?")
_CONDITION_TOPIC = re.compile(r"'([^']*)'\s+in\s+topics")
_STRUCTURE = "80100003"
_PARAMETER = "80100001"

Fields = dict[str, object]
_Check = Callable[[Fields], Iterator[Refusal]]


def tokens_of(message: Fields) -> tuple[str, ...]:
    """The device tokens of a message; none when it goes to a topic or is malformed."""
    tokens = message.get("token")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        return ()
    return tuple(tokens)


def target_of(message: Fields) -> str:
    """The topic as `/topics/<name>` or the condition; '' when the message goes to tokens."""
    topic, condition = message.get("topic"), message.get("condition")
    if isinstance(topic, str) and topic:
        return f"/topics/{topic}"
    return condition if isinstance(condition, str) else ""


def digest_of(message: Fields) -> str:
    """What tells a message from another one, whoever gets it."""
    content = {name: value for name, value in message.items() if name != "token"}
    return hashlib.blake2b(msgspec.json.encode(content), digest_size=16).hexdigest()


def check_message(message: Fields, high_priority: bool) -> Refusal | None:
    """The first thing that is wrong with a message, None when nothing is. `high_priority`: whether it may be HIGH."""
    android = _block(message, "android")
    for check, fields in ((_recipients, message), (_content, message), (_options, android), (_notification, message)):
        refusal = next(check(fields), None)
        if refusal is not None:
            return refusal
    if android.get("urgency") == "HIGH" and not high_priority:
        return Refusal("80300011")
    content = {name: value for name, value in message.items() if name != "token"}
    if len(msgspec.json.encode(content)) > MAX_BYTES:
        return Refusal("80300008", f"The message is larger than {MAX_BYTES} bytes")
    return None


def _recipients(message: Fields) -> Iterator[Refusal]:
    given = [name for name in TARGETS if message.get(name)]
    if not given:
        yield Refusal("80300010", "There is no token, topic or condition")
    elif len(given) > 1:
        yield Refusal(_STRUCTURE, "There is more than one of token, topic and condition")
    elif given == ["token"]:
        yield from _token_list(message["token"])
    elif given == ["topic"]:
        topic = message["topic"]
        if not isinstance(topic, str) or not TOPIC_NAME.fullmatch(topic):
            yield Refusal(_PARAMETER, "The topic is not correct")
    elif not _sound_condition(message["condition"]):
        yield Refusal(_PARAMETER, "The condition is not correct")


def _token_list(tokens: object) -> Iterator[Refusal]:
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        yield Refusal(_STRUCTURE, "token is not a list of texts")
    elif len(tokens) > MAX_TOKENS:
        yield Refusal("80300010", f"There are more than {MAX_TOKENS} tokens")


def _sound_condition(condition: object) -> bool:
    if not isinstance(condition, str):
        return False
    topics = _CONDITION_TOPIC.findall(condition)
    rest = re.sub(r"[\s()!]|&&|\|\|", "", _CONDITION_TOPIC.sub("", condition))
    balanced = condition.count("(") == condition.count(")")
    return 0 < len(topics) <= MAX_CONDITION_TOPICS and not rest and balanced and all(map(TOPIC_NAME.fullmatch, topics))


def _content(message: Fields) -> Iterator[Refusal]:
    for name in ("notification", "android", "apns", "webpush"):
        if not isinstance(message.get(name), dict | None):
            yield Refusal(_STRUCTURE, f"{name} is not an object")
    for where in (message, _block(message, "android")):
        if not isinstance(where.get("data"), str | None):
            yield Refusal(_STRUCTURE, "data is not a text")
    android = _block(message, "android")
    if not any((message.get("data"), message.get("notification"), android.get("data"), android.get("notification"))):
        yield Refusal(_STRUCTURE, "There is neither data nor a notification")


def _options(android: Fields) -> Iterator[Refusal]:
    key = android.get("collapse_key", -1)
    if type(key) is not int or not -1 <= key <= 100:
        yield Refusal("80100013", "collapse_key is not -1 to 100")
    if android.get("urgency", "NORMAL") not in ("HIGH", "NORMAL"):
        yield Refusal(_PARAMETER, "urgency is neither HIGH nor NORMAL")
    ttl = android.get("ttl", "86400s")
    match = _TTL.fullmatch(ttl) if isinstance(ttl, str) else None
    if match is None or not 0 < int(match[1]) <= MAX_TTL_SECONDS:
        yield Refusal("80100004", f"ttl is not a number of seconds with an s, at most {MAX_TTL_SECONDS}")
    if not isinstance(android.get("bi_tag"), str | None):
        yield Refusal(_PARAMETER, "bi_tag is not a text")
    if android.get("fast_app_target", 1) not in (1, 2):
        yield Refusal(_PARAMETER, "fast_app_target is neither 1 nor 2")


def _notification(message: Fields) -> Iterator[Refusal]:
    common, own = _block(message, "notification"), _block(_block(message, "android"), "notification")
    if not common and not own:
        return
    for name in ("title", "body"):
        text = own.get(name) or common.get(name)
        if not isinstance(text, str) or not text:
            yield Refusal(_STRUCTURE, f"{name} of the notification is missing")
    image = own.get("image") or common.get("image") or "https://"
    if not isinstance(image, str) or not image.startswith("https://"):
        yield Refusal("80100022", "image is not an https address")
    yield from _click_action(own.get("click_action"))


def _click_action(action: object) -> Iterator[Refusal]:
    if not isinstance(action, dict):
        yield Refusal(_STRUCTURE, "click_action is missing")
    elif action.get("type") not in (1, 2, 3, 4) or isinstance(action.get("type"), bool):
        yield Refusal(_PARAMETER, "type of click_action is not 1 to 4")
    elif action["type"] == 1 and not (action.get("intent") or action.get("action")):
        yield Refusal(_PARAMETER, "click_action has neither intent nor action")
    elif action["type"] == 2 and not str(action.get("url") or "").startswith("https://"):
        yield Refusal(_PARAMETER, "url of click_action is not an https address")


def _block(fields: Fields, name: str) -> Fields:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}
