"""What a registration of a device, or a change of one, may hold, and the form in which it is stored."""

import re
from typing import Annotated, Literal
from zoneinfo import available_timezones

from msgspec import Meta

from methods.errors import BadRequestError, NotAvailableError
from methods.filters import (
    Ids,
    Name,
    NameOrEmpty,
    Platform,
    Provider,
    ProviderId,
    Token,
    Topics,
    Users,
    platform_name,
)
from methods.method import Params
from methods.tokens import check_hex, check_token, is_subscription
from storage.devices import DeviceChange, NewDevice
from storage.ids import as_id, new_id

TopicsOp = Literal["add", "remove", "set"]
MetaText = Annotated[str, Meta(max_length=1024)]
DeviceMeta = Annotated[dict[Name, MetaText], Meta(max_length=64)]

_TIMEZONES = frozenset(available_timezones())
# A well-formed language tag: RFC 5646 section 2.1, without the tags grandfathered there.
_LOCALE = re.compile(
    r"(?:(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})(?:-[a-z]{4})?(?:-(?:[a-z]{2}|[0-9]{3}))?"
    r"(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(?:-[0-9a-wyz](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?"
    r"|x(?:-[a-z0-9]{1,8})+)",
    re.IGNORECASE | re.ASCII,
)


class DeviceRegisterParams(Params):
    """The whole state of a device: what is omitted is cleared.

    token: its token; for Web Push the browser's PushSubscription as a JSON string
    platform: ios, android or web
    provider: fcm, apns, hms, webpush or webhook; without it: apns for the platform `apns`, webpush for a subscription
        on the platform web, fcm otherwise
    id: its id, when it has been registered before
    user: the user it belongs to
    meta: up to 64 texts that the application keeps with it, usable in templates
    topics: its topics, beside those of its user and of everyone
    timezone: its IANA time zone, as Europe/Lisbon
    locale: its BCP 47 locale, as pt-BR
    provider_id: the named credential to reach it with, when it is not the provider's default one
    environment: APNs: production or sandbox; without it the credential decides
    voip_token: APNs: its token for VoIP pushes
    token_kind: FCM: `token`, or `fid` when the token is a Firebase installation id
    app_version: the version of the application on it
    accounts: further users that are logged in on it; not available yet
    """

    token: Token
    platform: Platform
    provider: Provider | None = None
    id: Annotated[str, Meta(max_length=255)] | None = None
    user: NameOrEmpty | None = None
    meta: DeviceMeta | None = None
    topics: Topics | None = None
    timezone: NameOrEmpty | None = None
    locale: NameOrEmpty | None = None
    provider_id: ProviderId | None = None
    environment: Literal["production", "sandbox"] | None = None
    voip_token: Token | None = None
    token_kind: Literal["token", "fid"] | None = None
    app_version: NameOrEmpty | None = None
    accounts: list[str] | None = None


def new_device(params: DeviceRegisterParams) -> NewDevice:
    """Return the device to store; BadRequestError for what is malformed, NotAvailableError for further accounts."""
    if params.accounts:
        raise NotAvailableError("a device belongs to one user for now", path="accounts")
    provider = params.provider or _provider_of(params.platform, params.token)
    checked = check_token(provider, params.token)
    return NewDevice(
        id=_own_id(params.id),
        provider=provider,
        provider_id=params.provider_id or "",
        token=checked.token,
        token_kind=_token_kind(provider, params.token_kind),
        platform=platform_name(params.platform),
        environment=params.environment or "",
        user_id=params.user or "",
        timezone=_timezone(params.timezone or "", "timezone"),
        locale=_locale(params.locale or "", "locale"),
        app_version=params.app_version or "",
        voip_token=check_hex(params.voip_token, "voip_token") if params.voip_token else "",
        meta=params.meta or {},
        webpush_keys=checked.webpush_keys,
        topics=params.topics or [],
    )


def _provider_of(platform: Platform, token: str) -> str:
    """Return the provider that the 2023 draft means, which had no such parameter."""
    if platform == "apns":
        return "apns"
    return "webpush" if platform == "web" and is_subscription(token) else "fcm"


def _own_id(given: str | None) -> str:
    if not given:
        return new_id()
    found = as_id(given)
    if found is None:
        raise BadRequestError("the id is not a UUID", path="id")
    return found


def _token_kind(provider: str, kind: str | None) -> str:
    if kind == "fid" and provider != "fcm":
        raise BadRequestError("only FCM has installation ids", path="token_kind")
    return kind or "token"


def _timezone(name: str, path: str) -> str:
    if name and name not in _TIMEZONES:
        raise BadRequestError("not the name of an IANA time zone", path=path)
    return name


def _locale(tag: str, path: str) -> str:
    if tag and not _LOCALE.fullmatch(tag):
        raise BadRequestError("not a BCP 47 language tag, as en or pt-BR", path=path)
    return tag


class UserUpdate(Params):
    """The user of the devices.

    user: the user; empty takes the devices away from theirs
    """

    user: NameOrEmpty | None = None


class MetaUpdate(Params):
    """What the application keeps with the devices.

    meta: all of it, in place of what there was
    """

    meta: DeviceMeta | None = None


class TopicsUpdate(Params):
    """The topics of the devices.

    op: add, remove or set; `set` with nothing takes all away
    topics: topics
    """

    op: TopicsOp
    topics: Topics | None = None


class TimezoneUpdate(Params):
    """The time zone of the devices.

    timezone: an IANA time zone; empty for none
    """

    timezone: NameOrEmpty | None = None


class LocaleUpdate(Params):
    """The locale of the devices.

    locale: a BCP 47 locale; empty for none
    """

    locale: NameOrEmpty | None = None


class DeviceUpdateParams(Params):
    """Which devices (at least one list, not empty; both narrow each other), and what to change in them.

    ids: ids of devices
    users: users whose devices to change
    user_update: their user
    meta_update: what the application keeps with them
    topics_update: their topics
    timezone_update: their time zone
    locale_update: their locale
    """

    ids: Ids | None = None
    users: Users | None = None
    user_update: UserUpdate | None = None
    meta_update: MetaUpdate | None = None
    topics_update: TopicsUpdate | None = None
    timezone_update: TimezoneUpdate | None = None
    locale_update: LocaleUpdate | None = None


def device_change(params: DeviceUpdateParams) -> DeviceChange:
    """Return the change to store; BadRequestError for an unknown time zone or a malformed locale."""
    user, meta, topics = params.user_update, params.meta_update, params.topics_update
    timezone, locale = params.timezone_update, params.locale_update
    change = DeviceChange()
    if user:
        change.user_id = user.user or ""
    if meta:
        change.meta = meta.meta or {}
    if topics:
        change.topics_op, change.topics = topics.op, topics.topics or []
    if timezone:
        change.timezone = _timezone(timezone.timezone or "", "timezone_update.timezone")
    if locale:
        change.locale = _locale(locale.locale or "", "locale_update.locale")
    return change
