"""What a registration of a device, or a change of one, may hold, and the form in which it is stored."""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal
from zoneinfo import available_timezones

from msgspec import Meta

from methods.addresses import AddressParams, address_of
from methods.errors import BadRequestError
from methods.filters import Ids, Name, NameOrEmpty, Topics, Users
from methods.method import Params
from storage.devices import DeviceChange, NewDevice
from storage.ids import as_id, new_id

TopicsOp = Literal["add", "remove", "set"]
MetaText = Annotated[str, Meta(max_length=1024)]
DeviceMeta = Annotated[dict[Name, MetaText], Meta(max_length=64)]
Accounts = Annotated[list[Name], Meta(max_length=100)]

_TIMEZONES = frozenset(available_timezones())
# A well-formed language tag: RFC 5646 section 2.1, without the tags grandfathered there.
_LOCALE = re.compile(
    r"(?:(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})(?:-[a-z]{4})?(?:-(?:[a-z]{2}|[0-9]{3}))?"
    r"(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(?:-[0-9a-wyz](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?"
    r"|x(?:-[a-z0-9]{1,8})+)",
    re.IGNORECASE | re.ASCII,
)


class DescriptionParams(AddressParams, kw_only=True):
    """What is known of a device beside its token.

    timezone: its IANA time zone, as Europe/Lisbon
    locale: its BCP 47 locale, as pt-BR
    app_version: the version of the application on it
    """

    timezone: NameOrEmpty | None = None
    locale: NameOrEmpty | None = None
    app_version: NameOrEmpty | None = None


class DeviceRegisterParams(DescriptionParams, kw_only=True):
    """The whole state of a device: what is omitted is cleared.

    id: its id, when it has been registered before
    user: the user it belongs to
    accounts: further users that are logged in on it; without `user` the first of them is it
    meta: up to 64 texts that the application keeps with it, usable in templates
    topics: its topics, beside those of its user and of everyone
    """

    id: Annotated[str, Meta(max_length=255)] | None = None
    user: NameOrEmpty | None = None
    accounts: Accounts | None = None
    meta: DeviceMeta | None = None
    topics: Topics | None = None


def new_device(params: DeviceRegisterParams, webpush_origins: Sequence[str]) -> NewDevice:
    """Return the device to store; BadRequestError for what is malformed or contradicts itself."""
    return described_device(
        params,
        webpush_origins,
        users=users_of([params.user or "", *(params.accounts or [])]),
        device_id=_own_id(params.id),
        meta=params.meta or {},
        topics=params.topics or [],
    )


def described_device(
    params: DescriptionParams,
    webpush_origins: Sequence[str],
    *,
    users: list[str],
    device_id: str = "",
    meta: dict[str, str] | None = None,
    topics: list[str] | None = None,
) -> NewDevice:
    """Return the device of these users, the main one first; BadRequestError for what is malformed."""
    address = address_of(params, webpush_origins)
    return NewDevice(
        id=device_id or new_id(),
        provider=address.provider,
        provider_id=params.provider_id or "",
        token=address.token,
        token_kind=address.token_kind,
        platform=address.platform,
        environment=address.environment,
        user_id=users[0] if users else "",
        accounts=users[1:],
        timezone=_timezone(params.timezone or "", "timezone"),
        locale=checked_locale(params.locale or "", "locale"),
        app_version=params.app_version or "",
        voip_token=address.voip_token,
        meta=meta or {},
        webpush_keys=address.webpush_keys,
        topics=topics or [],
    )


def users_of(names: Iterable[str]) -> list[str]:
    """Return each name once, in their order; an empty one is nobody."""
    return [name for name in dict.fromkeys(names) if name]


def _own_id(given: str | None) -> str:
    if not given:
        return new_id()
    found = as_id(given)
    if found is None:
        raise BadRequestError("the id is not a UUID", path="id")
    return found


def _timezone(name: str, path: str) -> str:
    if name and name not in _TIMEZONES:
        raise BadRequestError("not the name of an IANA time zone", path=path)
    return name


def checked_locale(tag: str, path: str) -> str:
    """Return a locale; BadRequestError when it is no BCP 47 language tag. Empty means none."""
    if tag and not _LOCALE.fullmatch(tag):
        raise BadRequestError("not a BCP 47 language tag, as en or pt-BR", path=path)
    return tag


class UserUpdate(Params):
    """The user of the devices.

    user: the user; empty takes the devices away from theirs, and the next of their accounts takes the place
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
    users: main users whose devices to change
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
        change.locale = checked_locale(locale.locale or "", "locale_update.locale")
    return change
