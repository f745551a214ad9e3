"""APNs broadcast: channels of Live Activities and pushes to them.

Sources: https://developer.apple.com/documentation/usernotifications/sending-channel-management-requests-to-apns and
…/sending-broadcast-push-notification-requests-to-apns. Apple serves these on other hosts; here they share the port.
"""

import base64
import binascii
import re
import secrets
import uuid
from typing import Literal

import msgspec

from emulators.apns_checks import VOIP_PAYLOAD_LIMIT, check_expiration, check_priority, check_size
from emulators.exchange import Request

MAX_CHANNELS = 10_000
NO_STORAGE = 0

_BROADCAST = re.compile(r"/4/broadcasts/apps/([^/]+)")
_MANAGE = re.compile(r"/1/apps/([^/]+)/(channels|all-channels)")


class Channel(msgspec.Struct, rename={"storage_policy": "message-storage-policy", "push_type": "push-type"}):
    """A channel's configuration as it is sent and read. Policy 0 stores nothing, 1 the newest message."""

    storage_policy: Literal[0, 1]
    push_type: Literal["LiveActivity"]


class ChannelAnswer(msgspec.Struct):
    """Outcome of a channel request: a reason to refuse it, or a status with headers and body."""

    headers: list[tuple[str, str]]
    status: int = 200
    body: bytes = b""
    reason: str = ""


def is_channel_path(path: str) -> bool:
    """Whether the path belongs to the broadcast API."""
    return bool(_BROADCAST.fullmatch(path) or _MANAGE.fullmatch(path))


class Channels:
    """The channels of every app of one environment."""

    def __init__(self, allowed: frozenset[str] | None) -> None:
        self._allowed = allowed
        self._apps: dict[str, dict[str, Channel]] = {}

    def clear(self) -> None:
        """Forget all channels."""
        self._apps.clear()

    def handle(self, request: Request) -> ChannelAnswer:
        """Answer an authenticated request of the broadcast API."""
        answer = ChannelAnswer([("apns-request-id", request.headers.get("apns-request-id") or str(uuid.uuid4()))])
        broadcast, manage = _BROADCAST.fullmatch(request.path), _MANAGE.fullmatch(request.path)
        match = broadcast or manage
        bundle = match[1] if match else ""
        if self._allowed is not None and bundle not in self._allowed:
            answer.reason = "TopicMismatch"
        elif broadcast:
            answer.reason = self._broadcast(request, bundle)
        else:
            self._manage(request, bundle, answer, everything=bool(manage and manage[2] == "all-channels"))
        return answer

    def _manage(self, request: Request, bundle: str, answer: ChannelAnswer, everything: bool) -> None:
        channels = self._apps.setdefault(bundle, {})
        if everything:
            listed = {"channels": list(channels)}
            answer.reason = "" if request.method == "GET" else "MethodNotAllowed"
            answer.body = msgspec.json.encode(listed)
        elif request.method == "POST":
            self._create(request, channels, answer)
        elif request.method in {"GET", "DELETE"}:
            self._one(request, channels, answer)
        else:
            answer.reason = "MethodNotAllowed"

    @staticmethod
    def _create(request: Request, channels: dict[str, Channel], answer: ChannelAnswer) -> None:
        try:
            channel = msgspec.json.decode(request.body, type=Channel)
        except msgspec.ValidationError:
            answer.reason = "BadRequestParams"
        except msgspec.DecodeError:
            answer.reason = "BadRequestPayload"
        else:
            if len(channels) >= MAX_CHANNELS:
                answer.reason = "CannotCreateChannelConfig"
                return
            channel_id = base64.b64encode(secrets.token_bytes(16)).decode()
            channels[channel_id] = channel
            answer.status = 201
            answer.headers.append(("apns-channel-id", channel_id))

    @staticmethod
    def _one(request: Request, channels: dict[str, Channel], answer: ChannelAnswer) -> None:
        answer.reason = _check_channel(request, channels)
        if answer.reason:
            return
        channel_id = request.headers["apns-channel-id"]
        if request.method == "GET":
            answer.body = msgspec.json.encode(channels[channel_id])
        else:
            del channels[channel_id]
            answer.status = 204

    def _broadcast(self, request: Request, bundle: str) -> str:
        if request.method != "POST":
            return "MethodNotAllowed"
        channels = self._apps.get(bundle, {})
        reason = _check_channel(request, channels) or _check_headers(request)
        if reason:
            return reason
        channel = channels[request.headers["apns-channel-id"]]
        if channel.storage_policy == NO_STORAGE and request.headers["apns-expiration"] != "0":
            return "BadExpirationDate"
        return check_size(request, VOIP_PAYLOAD_LIMIT) or ""


def _check_channel(request: Request, channels: dict[str, Channel]) -> str:
    channel_id = request.headers.get("apns-channel-id", "")
    if not channel_id:
        return "MissingChannelId"
    try:
        base64.b64decode(channel_id, validate=True)
    except binascii.Error:
        return "BadChannelId"
    return "" if channel_id in channels else "ChannelNotRegistered"


def _check_headers(request: Request) -> str:
    push_type = request.headers.get("apns-push-type", "")
    if not push_type:
        return "MissingPushType"
    if push_type.lower() != "liveactivity":
        return "InvalidPushType"
    if "apns-expiration" not in request.headers:
        return "BadExpirationDate"
    return check_expiration(request) or check_priority(request) or ""
