"""send_push_notification: accepting a push means that it is on disk."""

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from delivery.contents import LimitStrategy, Translations, expiry
from delivery.preferences import Importance
from delivery.webhooks.hooks import OutcomeWebhook, WebhookError
from methods.context import Context
from methods.errors import BadRequestError, ConflictError, NotAvailableError, NotFoundError, TooManyRequestsError
from methods.method import Params, Result
from methods.notifications import Notification, Payloads, UnixTime, payloads_of
from methods.recipients import Recipient, Resolved, resolve
from methods.registration import checked_locale
from methods.served import any_configured, check_sizes
from methods.stopping import Uid
from methods.templates import expanded
from methods.trial import AudiencePart, FirstMessage, Problem, try_out
from storage import pushes
from storage.ids import new_id
from storage.pushes import LANES, NewPush

_RETRY_AFTER_SECONDS = 1.0


class _Expanded(msgspec.Struct):
    notification: Notification


_EXPANDED = msgspec.json.Decoder(_Expanded)


class SendPushNotificationParams(Params):
    """A push.

    recipient: who gets it; exactly one form
    notification: what it says
    uid: your id of this push; sent again with the same content it answers the first result and sends nothing twice
    send_at: when to send, Unix seconds; in the past means now
    expire_at: no attempt after this time, Unix seconds
    limit_strategy: local times of day at which devices may get it, and how many they may get
    localizations: what `l10n.name` says in templates, by locale; a device gets the best that its locale has
    use_templating: true: strings may hold templates, as `{{ device.meta.name | default('friend') }}`
    use_meta: true: templates may read device.meta
    priority: the lane: urgent, normal (default for devices, users, tokens) or bulk (default for topics and filters)
    importance: low, normal (default) or high: users may want nothing less important than a level of theirs
    in_quiet_hours: what to do in a user's quiet hours and snoozes: hold it until they end (default) or drop it
    suppress_if_online: true: users who are in the app (user_presence_update) get nothing
    delay_ms: send so much later; who is in the app by then counts as online
    delivery: an attempt of unknown outcome is tried again (at_least_once, the default) or not (at_most_once)
    max_rate: at most so many sends a second for this push, whoever sends
    dry_run: true: nothing is sent; the answer says who would get what, and what is wrong with it
    webhook: where what comes of it is told, in signed batches (docs/outcomes.md)
    analytics_uid: id under which update_push_status counts; the uid when absent
    optimize_for_reliability: accepted; every push is handled reliably here
    """

    recipient: Recipient
    notification: Notification
    uid: Uid | None = None
    send_at: UnixTime | None = None
    expire_at: UnixTime | None = None
    limit_strategy: LimitStrategy | None = None
    localizations: Annotated[dict[str, Translations], Meta(max_length=1000)] | None = None
    use_templating: bool | None = None
    use_meta: bool | None = None
    priority: Literal["urgent", "normal", "bulk"] | None = None
    importance: Importance | None = None
    in_quiet_hours: Literal["hold", "drop"] | None = None
    suppress_if_online: bool | None = None
    delay_ms: Annotated[int, Meta(ge=0, le=86_400_000)] | None = None
    delivery: Literal["at_least_once", "at_most_once"] | None = None
    max_rate: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    dry_run: bool | None = None
    webhook: OutcomeWebhook | None = None
    analytics_uid: Annotated[str, Meta(max_length=255)] | None = None
    optimize_for_reliability: bool | None = None


class SendPushNotificationResult(Result):
    """The push is on disk; or, of a dry run, what it would come to.

    uid: its id: yours, or a new one; absent in a dry run without one
    duplicate: the uid was known and nothing was sent again
    dry_run: nothing was sent
    audience: dry run: recipients by provider and platform
    messages: dry run: the first message for each provider, as it would be sent
    problems: dry run: everything that would keep somebody from getting it
    """

    uid: str = ""
    duplicate: bool = False
    dry_run: bool = False
    audience: list[AudiencePart] = msgspec.field(default_factory=list)
    messages: list[FirstMessage] = msgspec.field(default_factory=list)
    problems: list[Problem] = msgspec.field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Acceptable:
    """A request that passed every check."""

    push: NewPush
    resolved: Resolved
    payloads: Payloads
    send_at: float | None


async def send_push_notification(ctx: Context, params: SendPushNotificationParams) -> SendPushNotificationResult:
    """Send a push to devices, users, topics or raw tokens.

    Answers when the push is committed to disk, not when it is sent; push_status tells what came of it. A repeated
    uid with the same content answers the first result with `duplicate`; with other content it is a conflict (113).
    Provider payloads without neutral fields and templates are passed through byte for byte. Too many waiting pushes
    answer 111 with a time to try again. With `dry_run` everything is checked and counted, and nothing is sent.
    """
    acceptable = await _check(ctx, params)
    push = acceptable.push
    if params.dry_run:
        tried = await try_out(ctx, acceptable.resolved, acceptable.payloads, push, params.send_at)
        return SendPushNotificationResult(params.uid or "", False, True, tried.audience, tried.messages, tried.problems)
    if ctx.gate is not None and await ctx.gate.is_full():
        raise TooManyRequestsError("the queue is full", retry_after_seconds=_RETRY_AFTER_SECONDS)
    if await _accept(ctx, acceptable):
        ctx.hints.work()
        return SendPushNotificationResult(push.uid)
    return await _repeated(ctx, push)


async def _check(ctx: Context, params: SendPushNotificationParams) -> _Acceptable:
    resolved = resolve(params.recipient, ctx.webpush_origins)
    _check_locales(params.localizations or {})
    notification, body = await _said(ctx, params)
    payloads = payloads_of(
        notification,
        body,
        resolved.target,
        made=_is_made(params) or body is not ctx.body,
        use_meta=bool(params.use_meta),
        provider=resolved.provider,
    )
    uid = params.uid or new_id()
    await _check_providers(ctx, resolved, payloads)
    await check_sizes(ctx, payloads)
    now = time.time()
    starts = max(params.send_at or 0, int(now))
    given = params.expire_at if params.expire_at is not None else notification.expire_at
    expire_at = expiry(payloads.ttl, given, max(params.send_at or 0, math.ceil(now)))  # a whole second, as shown
    if given is not None and given <= starts and await pushes.by_uid(ctx.database, uid) is None:
        raise BadRequestError("it expires before it can be sent", path="expire_at")
    default = "bulk" if resolved.audience.kind != "raw" and not resolved.is_direct else "normal"
    push = NewPush(
        id=new_id(),
        uid=uid,
        digest=hashlib.sha256(ctx.body).digest(),
        request=ctx.body if params.webhook is None else _without_webhook(ctx.body),
        analytics_uid=params.analytics_uid or uid,
        delivery=params.delivery or "at_least_once",
        lane=LANES.index(params.priority or default),
        providers=[resolved.provider] if resolved.provider else payloads.providers,
        apns_topic=payloads.apns_topic,
        expire_at=expire_at,
        max_rate=params.max_rate,
        needs=payloads.needs,
        webhook=_stored(ctx, params.webhook),
        content=None if body is ctx.body else body,
    )
    return _Acceptable(push, resolved, payloads, _later(params, now))


def _later(params: SendPushNotificationParams, now: float) -> float | None:
    """When the push is to be planned, if that is not now."""
    starts_at = max(params.send_at or 0, now) + (params.delay_ms or 0) / 1000
    return starts_at if starts_at > now else None


async def _said(ctx: Context, params: SendPushNotificationParams) -> tuple[Notification, bytes]:
    """The notification and the request that holds it, with its named template put in place."""
    if bytes(params.notification.template) == b"null":
        return params.notification, ctx.body
    body = await expanded(ctx, ctx.body)
    return _EXPANDED.decode(body).notification, body


def _check_locales(localizations: Mapping[str, object]) -> None:
    for locale in localizations:
        if locale != "default":  # which serves every locale, as "" does
            checked_locale(locale.replace("_", "-"), "localizations")


def _is_made(params: SendPushNotificationParams) -> bool:
    """Whether more than the bytes of the payloads counts when the push is sent."""
    return bool(params.use_templating or params.localizations or params.limit_strategy or params.suppress_if_online)


def _stored(ctx: Context, webhook: OutcomeWebhook | None) -> str | None:
    if webhook is None:
        return None
    try:
        webhook.check()
    except WebhookError as error:
        raise BadRequestError(error.detail, path=f"webhook.{error.path}") from None
    return webhook.stored(ctx.vault)


def _without_webhook(body: bytes) -> bytes:
    """The request without the one member that may hold a secret: that is stored apart, sealed."""
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({name: raw for name, raw in members.items() if name != "webhook"})


async def _check_providers(ctx: Context, resolved: Resolved, payloads: Payloads) -> None:
    """Refuse a push that no credential could send."""
    if not resolved.provider:
        if not await any_configured(ctx, payloads.providers):
            detail = f"no credential for {', '.join(payloads.providers)}; see provider_put"
            raise NotAvailableError(detail, path="notification")
        return
    if resolved.provider not in payloads.providers:
        detail = f"these recipients need a payload for {resolved.provider}"
        raise BadRequestError(detail, path=f"notification.{resolved.provider}")
    if resolved.provider_id:
        if await pushes.credential_provider(ctx.database, resolved.provider_id) != resolved.provider:
            detail = f"there is no {resolved.provider} credential of this name; see provider_list"
            raise NotFoundError(detail, path="recipient.provider_id")
    elif not await any_configured(ctx, [resolved.provider]):
        raise NotAvailableError(f"no credential for {resolved.provider}; see provider_put", path="notification")


async def _accept(ctx: Context, acceptable: _Acceptable) -> bool:
    push, resolved = acceptable.push, acceptable.resolved
    batch_size = ctx.batch_size
    if acceptable.send_at is None and resolved.is_direct:
        return await pushes.accept_devices(ctx.database, push, resolved.device_ids, resolved.users, batch_size)
    if acceptable.send_at is None and resolved.tokens:
        raw: dict[str, object] = {
            "provider": resolved.provider,
            "provider_id": resolved.provider_id,
            "target": resolved.target,
            "tokens": resolved.tokens,
        }
        return await pushes.accept_raw(ctx.database, push, raw, batch_size)
    audience = msgspec.json.encode(resolved.audience).decode()
    return await pushes.accept_planned(ctx.database, push, audience, acceptable.send_at)


async def _repeated(ctx: Context, push: NewPush) -> SendPushNotificationResult:
    known = await pushes.by_uid(ctx.database, push.uid)
    if known is None:  # it went between the two statements
        raise ConflictError("this uid is being removed; try again", path="uid")
    if known.digest != push.digest and _canonical(known.request) != _canonical(push.request):
        raise ConflictError("this uid was used for another push", path="uid")
    return SendPushNotificationResult(push.uid, duplicate=True)


def _canonical(request: bytes) -> object:
    """Return the request's content whatever its key order and white space; numbers keep their spelling."""
    return json.loads(request, parse_int=lambda text: ("number", text), parse_float=lambda text: ("number", text))


METHODS = (send_push_notification,)
