"""Keeps what is rendered once per push: the request's notification, and each credential's message made of it."""

from collections import OrderedDict

import msgspec

from delivery.batches import Batch
from delivery.providers.contract import Message, Provider


class _Request(msgspec.Struct):
    notification: dict[str, msgspec.Raw]


class UnknownPushError(Exception):
    """The push's request is not at hand: it was dropped from the cache while its batch was on the way."""


class Messages:
    """A bounded cache of notifications by push, and of prepared messages by what they depend on.

    The least recently used push leaves first, and its messages with it; the queue sends the request along with a
    batch of a push that is not `known()`.
    """

    def __init__(self, most_pushes: int = 256) -> None:
        self._most = most_pushes
        self._pushes: OrderedDict[str, tuple[dict[str, msgspec.Raw], dict[tuple[object, ...], Message]]] = OrderedDict()
        self._decoder = msgspec.json.Decoder(_Request)

    def known(self) -> list[str]:
        """The pushes whose request need not be sent along."""
        return list(self._pushes)

    def learn(self, push_id: str, request: bytes) -> None:
        """Keep the notification of this request, which was checked when it was accepted."""
        notification = self._decoder.decode(request).notification
        # copied, because a Raw keeps the whole request alive: a megabyte of tokens beside a payload of a few bytes
        self._pushes[push_id] = {provider: payload.copy() for provider, payload in notification.items()}, {}
        self._pushes.move_to_end(push_id)

    def trim(self) -> None:
        """Forget the least recently used pushes; called when no claim is being worked off."""
        while len(self._pushes) > self._most:
            self._pushes.popitem(last=False)

    def message(self, batch: Batch, provider: Provider) -> Message:
        """The push rendered for this credential; raises PayloadError as `Provider.prepare`, UnknownPushError."""
        try:
            notification, messages = self._pushes[batch.push_id]
        except KeyError:
            raise UnknownPushError(batch.push_id) from None
        self._pushes.move_to_end(batch.push_id)
        key = (provider, batch.environment, batch.target, batch.scope)
        message = messages.get(key)
        if message is None:
            message = messages[key] = provider.prepare(notification[batch.provider], batch)
        return message
