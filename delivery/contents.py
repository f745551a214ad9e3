"""What a push says and when it may, read from its request once, and compiled for each provider that needs it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from delivery.preferences import Importance
from delivery.rates import RateError, RateLimit, parse_rate_limit, render_key
from delivery.rendering import build, neutral
from delivery.rendering.build import Defaults
from delivery.rendering.locales import Localizations
from delivery.rendering.neutral_apns import MAX_TTL_SECONDS
from delivery.rendering.templates import Scalar, Template, TemplateError, Values, compile_payload
from delivery.windows import Window, parse_window

_NOW_OR_NEVER_SECONDS = 30
"""How long a push with ttl 0 is tried: the provider keeps it no longer than it takes, and neither do we."""

_PLAIN = Defaults()
_MOST_TEMPLATES = 1000  # of a push: one for each provider, and with badges one for each number
_VARIABLE = re.compile(r"\{\{|#\{|device\.")
_NEEDS = {
    "device.id": "device",
    "device.user": "user",
    "device.meta": "meta",
    "l10n": "locale",
    "receipt_token": "device",
    "push.account": "account",
}
_UNIFORM = frozenset({"l10n", "push.uid", "vars"})
"""What is the same for all recipients of a batch."""


class Translations(msgspec.Struct):
    """What the names of `l10n` say in one locale."""

    translations: dict[str, str] | None = None


class RatePolicy(msgspec.Struct):
    """At most `rate` pushes of one key in any `interval_ms`."""

    rate: int
    interval_ms: int


class RateLimits(msgspec.Struct):
    """`rate_limit` as it is given."""

    policies: list[RatePolicy]
    key: str | None = None
    drop_if_rate_limited: bool | None = None


class TimeLimit(msgspec.Struct):
    """`time_limit` as it is given: local times, "HH:MM:SS"."""

    send_after_time: str
    send_before_time: str
    no_tz_send_now: bool | None = None


class LimitStrategy(msgspec.Struct):
    """`limit_strategy` as it is given."""

    rate_limit: RateLimits | None = None
    time_limit: TimeLimit | None = None


class _Topics(msgspec.Struct):
    topics: list[str] | None = None


class _Addressed(msgspec.Struct):
    channels: list[str] | None = None
    filter: _Topics | None = None


class PushRequest(msgspec.Struct):
    """The part of a request that is read again when its batches are sent."""

    notification: dict[str, msgspec.Raw]
    recipient: _Addressed | None = None
    importance: Importance | None = None
    in_quiet_hours: Literal["hold", "drop"] | None = None
    suppress_if_online: bool | None = None
    vars: dict[str, Scalar] | None = None
    uid: str | None = None
    use_templating: bool | None = None
    localizations: dict[str, Translations] | None = None
    limit_strategy: LimitStrategy | None = None


class Limits(msgspec.Struct):
    """When recipients may get the push."""

    window: Window | None = None
    no_zone_sends_now: bool = False
    rate: RateLimit | None = None


def limits_of(strategy: LimitStrategy | None) -> Limits | None:
    """Read a limit strategy; None when nothing is limited. WindowError or RateError for one that makes no sense."""
    if strategy is None or (strategy.rate_limit is None and strategy.time_limit is None):
        return None
    limits = Limits()
    if strategy.time_limit is not None:
        given = strategy.time_limit
        limits.window = parse_window(given.send_after_time, given.send_before_time)
        limits.no_zone_sends_now = bool(given.no_tz_send_now)
    if strategy.rate_limit is not None:
        rate = strategy.rate_limit
        policies = [(policy.rate, policy.interval_ms) for policy in rate.policies]
        limits.rate = parse_rate_limit(rate.key, policies, drop=bool(rate.drop_if_rate_limited))
        if _VARIABLE.search(render_key(limits.rate.key, "", "")):  # else all recipients would share one limit
            raise RateError("device.id and device.user are the only variables here", "key")
    return limits


class Content:
    """A push as its request says it. What it cannot say is found when it is accepted: here the request is trusted."""

    def __init__(self, request: PushRequest, uid: str) -> None:
        # copied, because a Raw keeps the whole request alive: a megabyte of tokens beside a payload of a few bytes
        self._own = {name: raw.copy() for name, raw in request.notification.items()}
        self._neutral = neutral.read(self._own)
        self._uid = uid
        self.templated = bool(request.use_templating or request.localizations)
        given = request.localizations or {}
        self.translated = frozenset(name for each in given.values() for name in each.translations or ())
        self._localizations = Localizations({locale: each.translations or {} for locale, each in given.items()})
        self.vars = request.vars
        self.limits = limits_of(request.limit_strategy)
        self.importance: Importance = request.importance or "normal"
        self.drops_in_quiet_hours = request.in_quiet_hours == "drop"
        self.suppress_if_online = bool(request.suppress_if_online)
        self.auto_badge = self._neutral is not None and self._neutral.badge == "auto"
        self.topics = _topics(request.recipient)
        self._templates: dict[tuple[str, Defaults, int | None], Template | None] = {}

    def __repr__(self) -> str:
        return "Content()"

    @property
    def asks_of_users(self) -> bool:
        """Whether sending asks for something that is kept of users: presence, badges."""
        return self.suppress_if_online or self.auto_badge

    @property
    def ttl(self) -> int | None:
        """The neutral `ttl`, seconds."""
        return self._neutral.ttl if self._neutral is not None else None

    def says_something_to(self, provider: str) -> bool:
        """Whether devices of this provider get something."""
        own = self._own.get(provider)
        if own is not None and bytes(own) != b"null":
            return True
        # what is left when another provider's object holds all there is to say, as {"ttl": 60, "apns": {…}}, is nothing
        fields = self._neutral
        return fields is not None and bool(fields.background or fields.data or not fields.is_silent)

    def template(
        self, provider: str, defaults: Defaults, expire_at: float | None, badge: int | None = None
    ) -> Template | None:
        """The member of the notification for a provider, compiled; None when there is none.

        Raises PayloadError and TemplateError. `expire_at` is the push's own, which `ttl` is part of already; `badge` is
        what "auto" stands for.
        """
        key = (provider, defaults, badge)
        if key not in self._templates:
            if len(self._templates) >= _MOST_TEMPLATES:
                self._templates.clear()
            member = self.source(provider, defaults, expire_at, badge)
            compiled = None
            if member is not None:
                path = f"notification.{provider}"
                compiled = compile_payload(member, path) if self.templated else Template([member], static=True)
            self._templates[key] = compiled
        return self._templates[key]

    def source(
        self, provider: str, defaults: Defaults = _PLAIN, expire_at: float | None = None, badge: int | None = None
    ) -> bytes | None:
        """The member of the notification for a provider before anything is rendered; raises PayloadError."""
        own = self._own.get(provider)
        sent_at = max(0.0, (expire_at or 0.0) - min(self.ttl or 0, MAX_TTL_SECONDS))
        given = None if own is None else bytes(own)
        return build.build(provider, self._neutral, given, sent_at=sent_at, badge=badge, options=defaults)

    def values(
        self,
        locale: str,
        device_id: str = "",
        user: str = "",
        meta: Mapping[str, str] | None = None,
        receipt: str = "",
        account: str = "",
    ) -> Values:
        """What the templates can say to a recipient."""
        return Values(
            device_id=device_id,
            device_user=user,
            meta=meta,
            l10n=self._localizations.resolve(locale),
            push_uid=self._uid,
            receipt_token=receipt,
            push_account=account,
            vars=self.vars,
        )


def _topics(addressed: _Addressed | None) -> list[str] | None:
    """The topics by which a push reaches devices, None when it is addressed otherwise."""
    if addressed is None:
        return None
    return addressed.channels or (addressed.filter.topics if addressed.filter is not None else None)


def is_uniform(template: Template) -> bool:
    """Whether recipients of one locale get the same rendering."""
    return template.needs <= _UNIFORM


def needs_of(
    templates: Sequence[Template], limits: Limits | None, *, voip: bool = False, of_users: bool = False
) -> list[str]:
    """What batches must say of their recipients for these templates and limits: some of storage.pushes.NEEDS.

    `voip`: APNs gets a call, which goes to the token for calls. `of_users`: something that is kept of users counts.
    """
    needs = {_NEEDS[name] for template in templates for name in template.needs if name in _NEEDS}
    if limits is not None and limits.window is not None:
        needs.add("timezone")
    if limits is not None and limits.rate is not None:
        needs |= {"device", "user"} if "user" in limits.rate.key else {"device"}
    if of_users:
        needs.add("user")
    return sorted(needs | {"voip"} if voip else needs)


def expiry(ttl: int | None, expire_at: float | None, send_at: float) -> float | None:
    """When a push ends unsent, by its `ttl` and its `expire_at`: whichever is first."""
    if ttl is None:
        return expire_at
    by_ttl = send_at + (ttl or _NOW_OR_NEVER_SECONDS)
    return by_ttl if expire_at is None else min(by_ttl, expire_at)


_HEADERS_OF = {"apns": "headers", "webpush": "headers"}
_DECIDING = ("apns-topic", "apns-push-type")
"""By which batches are cut and payloads are checked, before anything is rendered."""


def check_headers(provider: str, template: Template, member: Any) -> None:
    """Refuse templates in headers that say what kind of push it is, and those that make a header differ in a batch.

    The recipients of a batch share one head.
    """
    name = _HEADERS_OF.get(provider)
    headers = member.get(name) if name and isinstance(member, dict) else None
    if headers is None:
        return
    path = f"notification.{provider}.{name}"
    for field, value in headers.items() if isinstance(headers, dict) else ():
        if field.lower() in _DECIDING and isinstance(value, str) and "{{" in value:
            raise TemplateError("this header cannot be a template: it says how the push is sent", f"{path}.{field}")
    if not is_uniform(compile_payload(msgspec.json.encode(headers), path)):
        raise TemplateError("a header cannot differ from device to device: only l10n and push.uid can be in it", path)
