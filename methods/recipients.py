"""Who a push is for: exactly one form of recipient, resolved into what storage can accept or plan."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Meta

from delivery.conditions import Condition, ConditionError, parse
from delivery.planner import Audience, Chosen
from methods.errors import BadRequestError
from methods.filters import DeviceFilter, filter_params
from methods.method import Params
from methods.tokens import Subscription, check_subscription
from methods.webpush_origins import BROWSERS
from storage.ids import known_form

_DIRECT_MOST = 500  # ids or users that are looked up while accepting; more are planned page by page
_TOKENS_MOST = 100_000
_TOKEN_LENGTH_MOST = 4096
_LONGEST_SECONDS = 3_155_760_000  # a hundred years: the database cannot count back from now without end


class Exclusion(DeviceFilter):
    """A filter over devices that get nothing.

    last_active_within_s: not available here
    """

    last_active_within_s: int | None = None


class RecipientFilter(DeviceFilter):
    """A filter over devices.

    all: true reaches every device; it must be said, because an empty filter is an error
    condition: a condition over topics, as `'news' in topics && !('sport' in topics)`; it goes with the lists
    exclude: a filter of its own: devices that it matches get nothing
    last_active_within_s: only devices that registered within so many seconds before the push
    """

    all: bool | None = None
    exclude: Exclusion | None = None
    last_active_within_s: Annotated[int, Meta(ge=1, le=_LONGEST_SECONDS)] | None = None


class Recipient(Params):
    """Who a push is for; exactly one member besides provider_id.

    filter: devices that match: any-of inside a list, and across lists
    device_ids: devices by id
    channels: every device subscribed to one of these channels (topics)
    users: every device of these users
    condition: devices by their topics, in FCM's syntax: `'a' in topics && ('b' in topics || !('c' in topics))`
    fcm_tokens: raw FCM registration tokens
    fcm_topic: a topic kept by FCM
    fcm_condition: a condition over topics kept by FCM
    apns_tokens: raw APNs device tokens, hex
    hms_tokens: raw tokens of HMS Push Kit
    hms_topic: a topic kept by HMS
    hms_condition: a condition over topics kept by HMS
    webpush_tokens: raw Web Push subscriptions: PushSubscription objects, or the JSON text of them
    provider_id: the credential that raw recipients belong to; the provider's default one when absent
    """

    filter: RecipientFilter | None = None
    device_ids: list[str] | None = None
    channels: list[str] | None = None
    users: list[str] | None = None
    condition: str | None = None
    fcm_tokens: list[str] | None = None
    fcm_topic: str | None = None
    fcm_condition: str | None = None
    apns_tokens: list[str] | None = None
    hms_tokens: list[str] | None = None
    hms_topic: str | None = None
    hms_condition: str | None = None
    webpush_tokens: list[str | Subscription] | None = None
    provider_id: str | None = None


_FORMS = tuple(name for name in Recipient.__struct_fields__ if name != "provider_id")
_RAW = {
    "fcm_tokens": ("fcm", "token"),
    "fcm_topic": ("fcm", "topic"),
    "fcm_condition": ("fcm", "condition"),
    "apns_tokens": ("apns", "token"),
    "hms_tokens": ("hms", "token"),
    "hms_topic": ("hms", "topic"),
    "hms_condition": ("hms", "condition"),
    "webpush_tokens": ("webpush", "token"),
}


@dataclass(frozen=True, slots=True)
class Resolved:
    """One of: devices to look up at once, raw addresses, or an audience to plan. `provider` is set for raw ones."""

    audience: Audience
    device_ids: list[str] | None = None
    users: list[str] | None = None
    tokens: list[str] = field(default_factory=list)
    provider: str = ""
    provider_id: str = ""
    target: str = "token"

    @property
    def is_direct(self) -> bool:
        """Few and known devices: they are looked up while the push is accepted."""
        return self.device_ids is not None or self.users is not None


def resolve(recipient: Recipient, webpush_origins: Sequence[str] = BROWSERS) -> Resolved:
    """Check the recipient and say what to accept; raw Web Push subscriptions must be at one of `webpush_origins`.

    Raises BadRequestError for none, several or an empty one.
    """
    given = [name for name in _FORMS if getattr(recipient, name) is not None]
    if len(given) != 1:
        found = "several: " + ", ".join(given) if given else "none"
        raise BadRequestError(f"exactly one form of recipient is expected, there are {found}", path="recipient")
    form = given[0]
    if form in _RAW:
        return _raw(recipient, form, webpush_origins)
    if recipient.provider_id is not None:
        raise BadRequestError(
            "provider_id goes with raw tokens only: a device has its own", path="recipient.provider_id"
        )
    if form == "filter" and recipient.filter is not None:
        return _filtered(recipient.filter)
    if form == "condition":
        condition = _condition(recipient.condition or "", "recipient.condition")
        kind = "filter" if condition.drive is None else "topics"
        return Resolved(Audience(kind, drive=condition.drive, condition=condition))
    return _listed(form, getattr(recipient, form))


def _listed(form: str, values: list[str]) -> Resolved:
    if not values:
        raise BadRequestError("the list is empty", path=f"recipient.{form}")
    values = sorted(set(values))
    if form == "channels":
        return Resolved(Audience("topics", topics=values))
    if form == "device_ids":
        ids = known_form(values)
        return Resolved(Audience("filter", ids=ids), device_ids=ids if len(ids) <= _DIRECT_MOST else None)
    # every device without a user belongs to "": that is no short list
    direct = len(values) <= _DIRECT_MOST and "" not in values
    return Resolved(Audience("filter", users=values), users=values if direct else None)


def _filtered(given: RecipientFilter) -> Resolved:
    path = "recipient.filter"
    narrowing = _narrowing(given)
    condition = None if given.condition is None else _condition(given.condition, f"{path}.condition")
    exclude = _excluded(given.exclude, f"{path}.exclude")
    if given.all and narrowing:
        raise BadRequestError('{"all": true} and lists exclude each other', path=path)
    if not (given.all or narrowing or condition or given.last_active_within_s):
        detail = 'the filter is empty; {"all": true} reaches every device'
        raise BadRequestError(detail if exclude is None else 'say {"all": true} beside exclude', path=path)
    if condition is None and exclude is None and given.last_active_within_s is None:
        if set(narrowing) == {"topics"}:
            return _listed("channels", given.topics or [])
        if set(narrowing) == {"ids"}:
            return _listed("device_ids", given.ids or [])
        if set(narrowing) == {"users"}:
            return _listed("users", given.users or [])
    audience = msgspec.convert({"kind": "filter", **narrowing}, Audience)
    audience.exclude, audience.condition = exclude, condition
    audience.active_within_seconds = given.last_active_within_s
    _drive(audience)
    return Resolved(audience)


def _drive(audience: Audience) -> None:
    """Read the audience by topics, where that is the shortest way to it: their devices are one range each."""
    if audience.ids is not None or audience.users is not None or audience.tokens is not None:
        return
    if audience.topics is not None:
        audience.kind, audience.drive, audience.topics = "topics", audience.topics, None
    elif audience.condition is not None and audience.condition.drive is not None:
        audience.kind, audience.drive = "topics", audience.condition.drive


def _narrowing(given: DeviceFilter) -> dict[str, object]:
    plain = msgspec.structs.replace(given, condition=None)
    return {name: value for name, value in filter_params(plain).items() if value is not None}


def _excluded(given: Exclusion | None, path: str) -> Chosen | None:
    if given is None:
        return None
    if given.condition is not None:
        raise BadRequestError("negate it in the filter's own condition instead", path=f"{path}.condition")
    if given.last_active_within_s is not None:
        raise BadRequestError("only the filter itself can ask for this", path=f"{path}.last_active_within_s")
    narrowing = _narrowing(given)
    if not narrowing:
        raise BadRequestError("the filter is empty: it would exclude everybody", path=path)
    return msgspec.convert(narrowing, Chosen)


def _condition(text: str, path: str) -> Condition:
    try:
        return parse(text)
    except ConditionError as error:
        raise BadRequestError(str(error), path=path) from None


def _raw(recipient: Recipient, form: str, webpush_origins: Sequence[str]) -> Resolved:
    provider, target = _RAW[form]
    value = getattr(recipient, form)
    given = value if isinstance(value, list) else [value]
    if not 0 < len(given) <= _TOKENS_MOST:
        raise BadRequestError(f"1 to {_TOKENS_MOST} are expected, there are {len(given)}", path=f"recipient.{form}")
    if form == "webpush_tokens":
        tokens = _subscriptions(given, webpush_origins)
    else:
        tokens = sorted({_checked(token, provider, target, f"recipient.{form}[{n}]") for n, token in enumerate(given)})
    provider_id = recipient.provider_id or ""
    audience = Audience("raw", tokens=tokens, provider=provider, provider_id=provider_id, target=target)
    return Resolved(audience, tokens=tokens, provider=provider, provider_id=provider_id, target=target)


def _subscriptions(given: list[str | Subscription], origins: Sequence[str]) -> list[str]:
    """Return what a batch holds of subscriptions: endpoint and keys. One endpoint is one recipient: the last counts."""
    found = {}
    for position, each in enumerate(given):
        checked = check_subscription(each, origins, f"recipient.webpush_tokens[{position}]")
        found[checked.token] = checked.webpush_keys or {}
    return sorted(f"{endpoint} {keys['p256dh']} {keys['auth']}" for endpoint, keys in found.items())


def _checked(token: str, provider: str, target: str, path: str) -> str:
    """Return the token in the form it is sent; only what could never be an address is refused."""
    if provider == "apns":
        if not token or len(token) > _TOKEN_LENGTH_MOST or not _is_hex(token):
            raise BadRequestError("an APNs token is hex text", path=path)
        return token.lower()
    if not token or len(token) > _TOKEN_LENGTH_MOST or not (token.isascii() and token.isprintable()):
        raise BadRequestError(f"not an {provider.upper()} {target}", path=path)
    return token.removeprefix("/topics/") if (provider, target) == ("fcm", "topic") else token


def _is_hex(token: str) -> bool:
    return token.isascii() and all(c in "0123456789abcdefABCDEF" for c in token)
