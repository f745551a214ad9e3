"""HMS topics: who subscribed to what.

Source: https://developer.huawei.com/consumer/en/doc/HMSCore-References/topic-sub-api-0000001051066122
"""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from emulators.exchange import Answer, Request
from emulators.hms_errors import JSON, OK, Refusal, coded, refused
from emulators.hms_messages import MAX_TOKENS, TOPIC_NAME

MAX_TOPICS_PER_DEVICE = 2000
MAX_DEVICES = 100_000

IsIllegal = Callable[[str], bool]


class _Change(msgspec.Struct, rename="camel"):
    topic: str
    token_array: list[str]


class _Query(msgspec.Struct):
    token: str


class HmsTopics:
    """Subscriptions of all apps: at most 2,000 topics a device, of at most 100,000 devices."""

    def __init__(self) -> None:
        self._devices: dict[str, dict[str, str]] = {}

    def clear(self) -> None:
        """Forget all subscriptions."""
        self._devices.clear()

    def of(self, token: str) -> list[str]:
        """The topics of a device, oldest subscription first."""
        return list(self._devices.get(token, ()))

    def handle(self, request: Request, verb: str, is_illegal: IsIllegal) -> Answer:
        """Answer `topic:subscribe`, `topic:unsubscribe` or `topic:list`."""
        try:
            if verb == "list":
                return self._list(msgspec.json.decode(request.body, type=_Query).token)
            change = msgspec.json.decode(request.body, type=_Change)
        except msgspec.DecodeError:
            return refused(Refusal("80100003"))
        if not TOPIC_NAME.fullmatch(change.topic):
            return refused(Refusal("80100001", "The topic is not correct"))
        if not 0 < len(change.token_array) <= MAX_TOKENS:
            return refused(Refusal("80300010"))
        return self._change(change, verb == "subscribe", is_illegal)

    def _change(self, change: _Change, adding: bool, is_illegal: IsIllegal) -> Answer:
        errors = []
        for index, token in enumerate(change.token_array):
            reason = "the token is illegal" if is_illegal(token) else self._one(token, change.topic, adding)
            if reason:
                errors.append({"index": index, "reason": reason})
        answer = coded("80300007" if len(errors) == len(change.token_array) else OK)
        body = msgspec.json.decode(answer.body, type=dict[str, object])
        body |= {"successCount": len(change.token_array) - len(errors), "failureCount": len(errors), "errors": errors}
        return msgspec.structs.replace(answer, body=msgspec.json.encode(body))

    def _one(self, token: str, topic: str, adding: bool) -> str:
        """Subscribe or unsubscribe one device; why not, or ''."""
        if not adding:
            self._devices.get(token, {}).pop(topic, None)
            return ""
        if token not in self._devices and len(self._devices) >= MAX_DEVICES:
            return "too many devices"
        topics = self._devices.setdefault(token, {})
        if topic not in topics and len(topics) >= MAX_TOPICS_PER_DEVICE:
            return "too many topics"
        topics.setdefault(topic, datetime.now(UTC).date().isoformat())
        return ""

    def _list(self, token: str) -> Answer:
        body = msgspec.json.decode(coded(OK).body, type=dict[str, object])
        body["topics"] = [{"name": name, "addDate": date} for name, date in self._devices.get(token, {}).items()]
        return Answer(200, [JSON], msgspec.json.encode(body), accepted=True)
