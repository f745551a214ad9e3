"""What a push says: neutral fields, payloads for providers, templates in them; checked before the push is taken."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from delivery.contents import Content, PushRequest, check_headers, needs_of
from delivery.providers.contract import Defaults, PayloadError
from delivery.providers.payloads import check, explicit_topic, is_voip
from delivery.rates import RateError
from delivery.rendering import neutral
from delivery.rendering.neutral import MAX_BADGE, NeutralError, Sound
from delivery.rendering.templates import Template, TemplateError, compile_payload
from delivery.windows import WindowError
from methods.errors import BadRequestError
from methods.method import Params

UnixTime = Annotated[int, Meta(ge=0, le=253_402_300_799)]

_ABSENT = msgspec.Raw(b"null")
_LONGEST_TTL_SECONDS = 3_155_760_000  # a hundred years


class Notification(Params):
    """What the push says: neutral fields, from which every provider's payload is built, or payloads of their own.

    A provider's own object is laid over what the neutral fields build (JSON merge patch); without neutral fields it is
    sent byte for byte, and devices whose provider has none are skipped. See docs/payloads.md.

    title: the first line
    subtitle: the second line, on Apple's devices
    body: the text
    message: another name of body
    sound: the sound's name, or an object with name, critical and volume (0 to 1)
    badge: the number on the app's icon; auto: the counter of the user (badge_update)
    image: URL of a picture, https
    data: what the app gets beside the text
    url: what opens on tap
    category: the app's name for this kind of push
    thread_id: groups pushes on the screen
    collapse_key: a later push with the same key replaces this one
    ttl: how long the push is worth delivering, seconds; 0 means now or never
    priority: high or normal
    background: true: nothing is shown, the app is woken
    mutable: true: the app may change it before it is shown
    fcm: FCM: {"message": an FCM v1 message without target}, or that message itself
    apns: APNs: {"headers": {"apns-…": text}, "payload": the JSON that the device gets}
    hms: HMS: {"message": a message of Push Kit's version 1 without recipients}
    webpush: Web Push: {"headers": {"TTL", "Urgency", "Topic"}, "payload": the JSON that the page's service worker gets}
    webhook: {"payload": any JSON}: what a company's own API gets (docs/webhook-provider.md)
    expire_at: no attempt after this time, Unix seconds; the one beside `notification` goes first
    template: a named template (template_put), by its name or as {"name", "vars"}; what stands beside is laid over it
    """

    title: str | None = None
    subtitle: str | None = None
    body: str | None = None
    message: str | None = None
    sound: str | Sound | None = None
    badge: Annotated[int, Meta(ge=0, le=MAX_BADGE)] | Literal["auto"] | None = None
    image: str | None = None
    data: dict[str, str] | None = None
    url: str | None = None
    category: str | None = None
    thread_id: str | None = None
    collapse_key: str | None = None
    ttl: Annotated[int, Meta(ge=0, le=_LONGEST_TTL_SECONDS)] | None = None
    priority: Literal["high", "normal"] | None = None
    background: bool | None = None
    mutable: bool | None = None
    fcm: msgspec.Raw = _ABSENT
    apns: msgspec.Raw = _ABSENT
    hms: msgspec.Raw = _ABSENT
    webpush: msgspec.Raw = _ABSENT
    webhook: msgspec.Raw = _ABSENT
    expire_at: UnixTime | None = None
    template: msgspec.Raw = _ABSENT


PROVIDERS = ("fcm", "apns", "hms", "webpush", "webhook")
_REQUEST = msgspec.json.Decoder(PushRequest)
_TARGETS_WITHOUT_DEVICES = ("topic", "condition")
_RULED_STRING = re.compile(
    r".*\.(?:headers\.[^.]+|android\.(?:ttl|priority|urgency)|fcm_options\.analytics_label|click_action\.url)"
)
"""Where providers have rules for what a string says, which can be said of a template only when it is rendered."""


class Oversized(NamedTuple):
    """A payload, built from neutral fields, that its provider would refuse for its size."""

    provider: str
    detail: str
    path: str


@dataclass(frozen=True, slots=True)
class Payloads:
    """The checked content of a push: for which providers there is one, and what sending it takes.

    `apns_topic` is the topic that its APNs headers name, `needs` what its batches must say of their recipients, `ttl`
    the neutral one. `content` is None where the payloads are passed on as they are. What is in `oversized` is for
    `served.check_sizes` to judge: it matters where the provider has a credential.
    """

    providers: list[str]
    apns_topic: str
    needs: list[str] = field(default_factory=list)
    ttl: int | None = None
    content: Content | None = None
    oversized: list[Oversized] = field(default_factory=list)


def payloads_of(
    notification: Notification, body: bytes, target: str, *, made: bool, use_meta: bool = False, provider: str = ""
) -> Payloads:
    """Check what a push says as far as it can be done without a credential.

    `body` is the request as it came, `made` whether it has templates or limits, so that more than its bytes counts,
    `provider` that of raw recipients: what is only built for others is not looked at.
    Raises BadRequestError for what a provider would certainly refuse (type, size, reserved keys), for templates that
    can never be rendered, and when there is nothing to send.
    """
    own = [name for name in PROVIDERS if not _absent(getattr(notification, name))]
    topic = explicit_topic(bytes(notification.apns)) if "apns" in own else ""
    voip = "apns" in own and is_voip(bytes(notification.apns))
    try:
        if not made and not _has_neutral(notification):
            if not own:
                detail = "neutral fields (title, body, …) or a payload for at least one provider are expected"
                raise BadRequestError(detail, path="notification")
            for name in own:
                check(name, bytes(getattr(notification, name)), target if provider in ("", name) else "token")
            payloads = Payloads(own, topic, ["voip"] if voip else [])
        else:
            payloads = _made(body, own, topic, target, use_meta=use_meta, provider=provider, voip=voip)
    except (PayloadError, NeutralError, TemplateError) as error:
        raise BadRequestError(error.detail, path=error.path) from None
    return payloads


def _made(
    body: bytes, own: list[str], topic: str, target: str, *, use_meta: bool, provider: str, voip: bool
) -> Payloads:
    """Build and compile the payloads as sending will do."""
    request = _REQUEST.decode(body)
    fields = neutral.read(request.notification)
    if fields is not None:
        neutral.check(fields, alone=not own)
        if fields.collapse_key and "{{" in fields.collapse_key:
            raise BadRequestError("a collapse key cannot be a template", path="notification.collapse_key")
    try:
        content = Content(request, "")
    except WindowError as error:
        raise BadRequestError(error.detail, path=f"limit_strategy.time_limit.{error.path}") from None
    except RateError as error:
        raise BadRequestError(error.detail, path=f"limit_strategy.rate_limit.{error.path}") from None
    providers = [name for name in PROVIDERS if content.says_something_to(name)]
    if not providers:
        raise BadRequestError("there is nothing to send: give title, body or a payload", path="notification")
    if content.templated:  # here, where an error can name the field that was given
        given = {name: raw for name, raw in request.notification.items() if name in _NEUTRAL}
        compile_payload(msgspec.json.encode(given), "notification")
    names = [name for name in providers if provider in ("", name) or name in own]
    templates, oversized = [], []
    for name in names:
        templates.append(template := _compiled(content, name))
        try:
            _check(content, template, name, target if provider in ("", name) else "token")
        except PayloadError as error:
            if not error.too_large or name in own:
                raise
            oversized.append(Oversized(name, error.detail, error.path))
    needs = needs_of(templates, content.limits, voip=voip, of_users=content.asks_of_users)
    _check_needs(content, templates, needs, target, use_meta=use_meta)
    return Payloads(providers, topic, needs, content.ttl, content, oversized)


def _compiled(content: Content, provider: str) -> Template:
    template = content.template(provider, Defaults(), None)
    if template is None:
        raise BadRequestError("there is nothing to send", path=f"notification.{provider}")
    return template


def _check(content: Content, template: Template, provider: str, target: str) -> None:
    """Check a provider's payload except for what is rendered later."""
    if template.static:
        check(provider, template.render(content.values("")), target)
    else:
        member = msgspec.json.decode(content.source(provider) or b"{}")
        check_headers(provider, template, member)
        _check_outline(provider, template, member, target)


def _check_outline(provider: str, template: Template, member: Any, target: str) -> None:
    """Check a payload with nothing in place of its expressions; no rendering is shorter."""
    try:
        check(provider, template.outline, target)
    except PayloadError as error:
        if not (_RULED_STRING.fullmatch(error.path) and _is_template(member, error.path)):
            raise


def _is_template(member: Any, path: str) -> bool:
    """Whether the string at `path`, below the provider's member, holds a template. Header names have any case."""
    for step in path.split(".")[2:]:
        names = {name.lower(): name for name in member} if isinstance(member, dict) else {}
        member = member[names[step.lower()]] if step.lower() in names else None
    return isinstance(member, str) and "{{" in member


def _check_needs(content: Content, templates: list[Template], needs: list[str], target: str, *, use_meta: bool) -> None:
    if "meta" in needs and not use_meta:
        raise BadRequestError("templates read device.meta: say use_meta as well", path="use_meta")
    if content.vars is None and any("vars" in template.needs for template in templates):
        raise BadRequestError("only a named template has vars", path="notification")
    if target in _TARGETS_WITHOUT_DEVICES and (needs or content.limits is not None):
        detail = "a topic or condition is sent to by its push service: no limits, nothing about a device in templates"
        raise BadRequestError(detail, path="recipient")


def _has_neutral(notification: Notification) -> bool:
    return any(getattr(notification, name) is not None for name in _NEUTRAL)


_NEUTRAL: tuple[str, ...] = (*neutral.Neutral.__struct_fields__, "message")


def _absent(value: Any) -> bool:
    return bytes(value) == b"null"
