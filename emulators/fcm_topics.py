"""FCM topics: who subscribed to what, by the registrations API of 2026 and by the old Instance ID API.

Sources: https://firebase.google.com/docs/cloud-messaging/manage-topic-subscriptions and
https://developers.google.com/instance-id/reference/server
"""

import re
from collections.abc import Callable
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from emulators.exchange import Answer, Request
from emulators.fcm_errors import JSON, FieldViolation, error_answer, invalid
from emulators.fcm_messages import TOPIC_NAME

MAX_TOPICS_PER_DEVICE = 2000
MAX_TOKENS_PER_CALL = 1000
MAX_DEVICES = 100_000
DEFAULT_PAGE = 100
MAX_PAGE = 2000

REGISTRATIONS = re.compile(r"/v1/projects/([^/]+)/registrations/([^/]+)/topicSubscriptions(?:/([^/]+))?")
INSTANCE_ID = re.compile(r"/iid/v1:batch(Add|Remove)")


class _Batch(msgspec.Struct):
    to: str
    registration_tokens: list[str]


class Topics:
    """Subscriptions of one emulator: at most 2,000 topics a device, of at most 100,000 devices."""

    def __init__(self) -> None:
        self._devices: dict[str, dict[str, None]] = {}

    def clear(self) -> None:
        """Forget all subscriptions."""
        self._devices.clear()

    def of(self, device: str) -> list[str]:
        """The topics of a device, oldest subscription first."""
        return list(self._devices.get(device, ()))

    def add(self, device: str, topic: str) -> str:
        """Subscribe; the name of the error when that is not possible."""
        if device not in self._devices and len(self._devices) >= MAX_DEVICES:
            return "INTERNAL"
        topics = self._devices.setdefault(device, {})
        if topic in topics:
            return "ALREADY_EXISTS"
        if len(topics) >= MAX_TOPICS_PER_DEVICE:
            return "TOO_MANY_TOPICS"
        topics[topic] = None
        return ""

    def remove(self, device: str, topic: str) -> bool:
        """Unsubscribe; false when there was no subscription."""
        topics = self._devices.get(device, {})
        if topic not in topics:
            return False
        del topics[topic]
        return True

    def registrations(self, request: Request, is_dead: Callable[[str], bool]) -> Answer:
        """Answer the registrations API: POST, DELETE and GET of a device's topicSubscriptions."""
        url = urlsplit(request.path)
        match = REGISTRATIONS.fullmatch(url.path)
        if match is None:
            return error_answer("NOT_FOUND")
        parent = f"projects/{match[1]}/registrations/{match[2]}"
        device, topic = unquote(match[2]), unquote(match[3] or "")
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if is_dead(device):
            return error_answer("UNREGISTERED")
        if request.method == "POST" and not topic:
            return self._subscribe(parent, device, query.get("topic_name") or query.get("topicName") or "")
        if request.method == "DELETE" and topic:
            missing_is_fine = "true" in {query.get("allow_missing"), query.get("allowMissing")}
            found = self.remove(device, topic)
            return _ok({}) if found or missing_is_fine else error_answer("NOT_FOUND")
        if request.method == "GET" and not topic:
            return self._list(parent, device, query)
        return error_answer("METHOD_NOT_ALLOWED")

    def _subscribe(self, parent: str, device: str, topic: str) -> Answer:
        if not TOPIC_NAME.fullmatch(topic):
            return invalid([FieldViolation("topic_name", "Invalid topic name")])
        problem = self.add(device, topic)
        if problem == "TOO_MANY_TOPICS":
            return error_answer("QUOTA_EXCEEDED", message="Too many topics for this registration")
        if problem:
            return error_answer(problem)
        return _ok({"name": f"{parent}/topicSubscriptions/{topic}", "topicName": topic})

    def _list(self, parent: str, device: str, query: dict[str, str]) -> Answer:
        size, start = query.get("page_size", str(DEFAULT_PAGE)), query.get("page_token", "0")
        if not (size.isdigit() and start.isdigit()):
            return invalid([FieldViolation("page_size", "page_size and page_token must be numbers")])
        first, count = int(start), min(int(size) or DEFAULT_PAGE, MAX_PAGE)
        topics = self.of(device)
        page = [{"name": f"{parent}/topicSubscriptions/{t}", "topicName": t} for t in topics[first : first + count]]
        body: dict[str, object] = {"topicSubscriptions": page}
        if first + count < len(topics):
            body["nextPageToken"] = str(first + count)
        return _ok(body)

    def instance_id(self, request: Request, is_dead: Callable[[str], bool]) -> Answer:
        """Answer the old API: `batchAdd` and `batchRemove` of up to 1,000 tokens."""
        match = INSTANCE_ID.fullmatch(request.path)
        if match is None or request.method != "POST":
            return _iid_error(404 if match is None else 405, "InvalidRequest")
        if request.headers.get("access_token_auth") != "true":
            return _iid_error(401, "Unauthorized")
        try:
            batch = msgspec.json.decode(request.body, type=_Batch)
        except msgspec.DecodeError:
            return _iid_error(400, "InvalidRequest")
        topic = batch.to.removeprefix("/topics/")
        if topic == batch.to or not TOPIC_NAME.fullmatch(topic):
            return _iid_error(400, "InvalidTopicName")
        if not 0 < len(batch.registration_tokens) <= MAX_TOKENS_PER_CALL:
            return _iid_error(400, "InvalidNumberOfTokens")
        adding = match[1] == "Add"
        return _ok({"results": [self._one(token, topic, adding, is_dead) for token in batch.registration_tokens]})

    def _one(self, token: str, topic: str, adding: bool, is_dead: Callable[[str], bool]) -> dict[str, str]:
        if is_dead(token):
            return {"error": "NOT_FOUND"}
        problem = ""
        if adding:
            problem = self.add(token, topic)
        else:
            self.remove(token, topic)
        return {"error": problem} if problem and problem != "ALREADY_EXISTS" else {}


def _ok(body: dict[str, object]) -> Answer:
    return Answer(200, [JSON], msgspec.json.encode(body), accepted=True)


def _iid_error(status: int, text: str) -> Answer:
    return Answer(status, [JSON], msgspec.json.encode({"error": text}), text)
