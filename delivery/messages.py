"""Keeps what is made once per push: its content, and each credential's message of it."""

from collections import OrderedDict
from dataclasses import dataclass, field

import msgspec

from delivery.batches import Batch
from delivery.contents import Content, PushRequest, is_uniform
from delivery.outcomes import Kind, Outcome
from delivery.providers.contract import Message, PayloadError, Provider
from delivery.receipts import Receipts
from delivery.rendering.templates import RenderError, Template, Values

_REFUSED = Outcome(Kind.FAILED, "PayloadRefused")


class UnknownPushError(Exception):
    """The push's request is not at hand: it was dropped from the cache while its batch was on the way."""


@dataclass(slots=True)
class Rendered:
    """What to send for a batch.

    `message` is that of all recipients, or the first one's where `each` holds one for each of `positions`. Those that
    nothing can be rendered for are in `failed`.
    """

    message: Message | None
    positions: list[int] | None = None
    each: list[Message] | None = None
    failed: dict[int, Outcome] = field(default_factory=dict)


@dataclass(slots=True)
class _Push:
    content: Content
    analytics_uid: str
    uid: str
    messages: dict[tuple[object, ...], Message] = field(default_factory=dict)


class Messages:
    """A bounded cache of contents by push, and of prepared messages by what they depend on.

    The least recently used push leaves first, and its messages with it; the queue sends the request along with a
    batch of a push that is not `known()`.
    """

    def __init__(self, receipts: Receipts, most_pushes: int = 256) -> None:
        self._receipts = receipts
        self._most = most_pushes
        self._pushes: OrderedDict[str, _Push] = OrderedDict()
        self._decoder = msgspec.json.Decoder(PushRequest)

    def known(self) -> list[str]:
        """The pushes whose request need not be sent along."""
        return list(self._pushes)

    def learn(self, push_id: str, request: bytes, uid: str, analytics_uid: str) -> None:
        """Keep the content of this request, which was checked when it was accepted."""
        self._pushes[push_id] = _Push(Content(self._decoder.decode(request), uid), analytics_uid, uid)
        self._pushes.move_to_end(push_id)

    def trim(self) -> None:
        """Forget the least recently used pushes; called when no claim is being worked off."""
        while len(self._pushes) > self._most:
            self._pushes.popitem(last=False)

    def content(self, push_id: str) -> Content:
        """The content of a push; raises UnknownPushError."""
        return self._push(push_id).content

    def render(self, batch: Batch, provider: Provider) -> Rendered:
        """The push rendered for a batch; raises UnknownPushError. What cannot be rendered fails its recipients."""
        push = self._push(batch.push_id)
        batch.uid = push.uid
        try:
            template = push.content.template(batch.provider, provider.defaults, batch.expire_at)
            if template is None:
                return Rendered(None, failed=dict.fromkeys(range(len(batch.tokens)), _REFUSED))
            if is_uniform(template) and not push.content.auto_badge:
                return Rendered(self._shared(push, batch, provider, template))
        except (PayloadError, RenderError) as error:
            return Rendered(None, failed=dict.fromkeys(range(len(batch.tokens)), _failure(error)))
        return self._each(push, batch, provider, template)

    def _push(self, push_id: str) -> _Push:
        push = self._pushes.get(push_id)
        if push is None:
            raise UnknownPushError(push_id)
        self._pushes.move_to_end(push_id)
        return push

    def _shared(self, push: _Push, batch: Batch, provider: Provider, template: Template) -> Message:
        values = push.content.values(batch.locale) if template.needs else None
        key = (provider, batch.environment, batch.target, batch.scope, values and template.key(values))
        message = push.messages.get(key)
        if message is None:
            member = template.render(values or Values())
            message = push.messages[key] = provider.prepare(msgspec.Raw(member), batch)
        return message

    def _each(self, push: _Push, batch: Batch, provider: Provider, template: Template) -> Rendered:
        rendered = Rendered(None, positions=[], each=[])
        known: dict[object, Message | Outcome] = {}  # recipients who get the same are rendered for once
        for position in range(len(batch.tokens)):
            badge = batch.attributes[position].badge if batch.attributes else None
            if push.content.auto_badge:
                template = push.content.template(batch.provider, provider.defaults, batch.expire_at, badge) or template
            values = self._values(push, batch, position, template)
            key = (badge, template.key(values))
            found = known.get(key)
            if found is None:
                found = known[key] = _prepared(provider, batch, template, values)
            if isinstance(found, Outcome):
                rendered.failed[position] = found
            else:
                rendered.positions.append(position)  # type: ignore[union-attr]
                rendered.each.append(found)  # type: ignore[union-attr]
        rendered.message = rendered.each[0] if rendered.each else None
        return rendered

    def _values(self, push: _Push, batch: Batch, position: int, template: Template) -> Values:
        device_id = batch.device_id(position)
        known = batch.attributes[position] if batch.attributes else None
        receipt = ""
        if device_id and "receipt_token" in template.needs:
            receipt = self._receipts.token(push.analytics_uid, device_id)
        if known is None:
            return push.content.values(batch.locale, device_id, receipt=receipt)
        return push.content.values(batch.locale, device_id, known.user, known.meta, receipt, known.account)


def _prepared(provider: Provider, batch: Batch, template: Template, values: Values) -> "Message | Outcome":
    try:
        return provider.prepare(msgspec.Raw(template.render(values)), batch)  # type: ignore[no-any-return]
    except (PayloadError, RenderError) as error:
        return _failure(error)


def _failure(error: PayloadError | RenderError) -> Outcome:
    if isinstance(error, RenderError):
        return Outcome(Kind.FAILED, error.reason)
    return Outcome(Kind.FAILED, "PayloadTooLarge") if error.too_large else _REFUSED
