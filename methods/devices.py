"""Devices: registering, changing, removing and finding them."""

from typing import Annotated

from msgspec import Meta, field

from methods.aliases import Provider, provider_names
from methods.context import Context
from methods.errors import BadRequestError
from methods.filters import (
    FIELDS,
    DeviceFilter,
    Ids,
    Tokens,
    Users,
    filter_params,
    id_cursor,
    page_limit,
    token_forms,
)
from methods.method import Empty, Params, Result
from methods.registration import DeviceRegisterParams, DeviceUpdateParams, device_change, new_device
from storage import devices
from storage.devices import DeviceFacts, DeviceRow
from storage.ids import known_form


class Device(Result):
    """A device. What is empty is left out.

    id: its id
    provider: fcm, apns, hms, webpush or webhook
    platform: ios, android or web
    token: its token; for Web Push the endpoint of the subscription
    user: the user it belongs to
    accounts: further users that are logged in on it, who came first at first
    created_at: when it was registered first, Unix seconds
    updated_at: when it was registered or updated last, Unix seconds
    meta: what the application keeps with it
    topics: its topics, sorted
    timezone: its IANA time zone
    locale: its BCP 47 locale
    webpush_keys: the keys of the Web Push subscription, `p256dh` and `auth` in base64url
    provider_id: the named credential it is reached with
    environment: production or sandbox; left out where the credential decides
    token_kind: `fid` when the token is a Firebase installation id, `voip` when it is a VoIP token and the only one
    voip_token: its token for VoIP pushes, beside `token`
    app_version: the version of the application on it
    state: active, failing or dead; a dead one gets no pushes until it is registered again
    failing_reason: what the provider said of it last, when it is not active
    voip_state: the state of its VoIP token, where that is not active and stands beside another
    voip_failing_reason: what the provider said of its VoIP token last
    """

    id: str = ""
    provider: str = ""
    platform: str = ""
    token: str = ""
    user: str = ""
    accounts: list[str] = field(default_factory=list)
    created_at: int = 0
    updated_at: int = 0
    meta: dict[str, str] = field(default_factory=dict)
    topics: list[str] = field(default_factory=list)
    timezone: str = ""
    locale: str = ""
    webpush_keys: dict[str, str] = field(default_factory=dict)
    provider_id: str = ""
    environment: str = ""
    token_kind: str = ""
    voip_token: str = ""
    app_version: str = ""
    state: str = ""
    failing_reason: str = ""
    voip_state: str = ""
    voip_failing_reason: str = ""

    def __repr__(self) -> str:
        return f"Device(id={self.id!r})"


def device_of(facts: DeviceFacts) -> Device:
    """Return a stored device as the API shows it, without accounts, meta, topics and keys."""
    return Device(
        id=facts.id,
        provider=facts.provider,
        platform=facts.platform,
        token=facts.token,
        user=facts.user_id,
        created_at=facts.created_at,
        updated_at=facts.updated_at,
        timezone=facts.timezone,
        locale=facts.locale,
        provider_id=facts.provider_id,
        environment=facts.environment,
        token_kind="" if facts.token_kind == "token" else facts.token_kind,
        voip_token="" if facts.token_kind == "voip" else facts.voip_token,
        app_version=facts.app_version,
        state=facts.state,
        failing_reason=facts.failing_reason,
    )


def whole_device(row: DeviceRow, *, meta: bool = True, topics: bool = True, webpush_keys: bool = False) -> Device:
    """Return a stored device as the API shows it, with those of its larger parts that are asked for."""
    device = device_of(row)
    device.accounts = row.accounts
    device.voip_state = "" if row.voip_state == "active" else row.voip_state
    device.voip_failing_reason = row.voip_failing_reason
    device.meta = row.meta if meta else {}
    device.topics = row.topics if topics else []
    device.webpush_keys = (row.webpush_keys or {}) if webpush_keys else {}
    return device


class DeviceRegisterResult(Result):
    """The device that was registered.

    id: its id, to be kept by the application
    device: the device as device_list shows it, with meta and topics
    """

    id: str
    device: Device


async def device_register(ctx: Context, params: DeviceRegisterParams) -> DeviceRegisterResult:
    """Register a device, or write the whole state of one that is registered.

    Call it whenever the application starts or gets a new token; what is omitted is cleared. Without `id` the device
    is found by provider, provider_id and token, and made when there is none. With `id` it is that device, made under
    that id when it does not exist any more; another device that has the token is removed, since a token is one
    installation. Topics become those given, those of the user, and those of everyone (user_topic_update). A device
    that was found dead is active again.

    An APNs device may have a VoIP token beside its token, or a VoIP token alone (`token_kind` `voip`): VoIP pushes go
    to that one, all others to the token. Whoever had the VoIP token loses it. Names of providers and platforms that
    other systems use are taken for what they say: `apns_internal_voip` is apns, sandbox, a VoIP token; results answer
    with ours. 107 when they contradict each other or what is given beside them.

    107 for a malformed id, token, time zone or locale. APNs tokens are hexadecimal and kept in lower case. A Web Push
    subscription must have an https endpoint on a known push service (TOCSIN_WEBPUSH_ORIGINS adds to them), and sound
    keys.
    """
    row = await devices.register(ctx.database, new_device(params, ctx.webpush_origins), by_id=bool(params.id))
    return DeviceRegisterResult(row.id, whole_device(row))


async def device_update(ctx: Context, params: DeviceUpdateParams) -> Empty:
    """Change a part of the state of devices, and leave the rest of it.

    An object that is present is applied even when it is empty: `"user_update": {}` takes the devices away from their
    user. A change of the user does not bring the topics of the new one; the next device_register does. Ids and users
    that nobody knows are silently fine. 107 when neither `ids` nor `users` names anything.
    """
    if not (params.ids or params.users):
        raise BadRequestError("say which devices: ids or users", path="ids")
    await devices.update(
        ctx.database,
        device_change(params),
        ids=known_form(params.ids) if params.ids else None,
        users=params.users or None,
    )
    return Empty()


class DeviceRemoveParams(Params):
    """At least one list, not empty; a device is removed when it is in all of those given.

    ids: ids of devices
    users: users whose devices to remove
    tokens: tokens of devices, as the provider gave them, VoIP tokens too
    providers: narrows the others to devices of these providers; `apns_voip` and `apns_internal_voip` to VoIP tokens
    """

    ids: Ids | None = None
    users: Users | None = None
    tokens: Tokens | None = None
    providers: Annotated[list[Provider], Meta(max_length=100)] | None = None


async def device_remove(ctx: Context, params: DeviceRemoveParams) -> Empty:
    """Remove devices, and their topics with them.

    The lists narrow each other: with `ids` and `users`, only devices of those ids that belong to those users. Ids,
    users and tokens that nobody knows are silently fine. 107 when no list is given or all are empty; `providers` do not
    stand alone.

    A device on which others are logged in than the `users` given is not removed: those users are taken off it. One of
    which the VoIP token alone is named, and that has another token, is not removed either, but loses that one.
    """
    if not (params.ids or params.users or params.tokens):
        raise BadRequestError("say which devices: ids, users or tokens", path="ids")
    await devices.remove(
        ctx.database,
        ids=known_form(params.ids) if params.ids else None,
        users=params.users or None,
        tokens=token_forms(params.tokens),
        providers=provider_names(params.providers),
    )
    return Empty()


class DeviceListParams(DeviceFilter):
    """What to list; the lists of the filter may also stand here, beside `filter`, as in the 2023 draft.

    filter: which devices; absent means all
    cursor: `next_cursor` of the page before
    since: another name of `cursor`: the id of the last device of the page before
    limit: devices on a page: 100 unless given, at most 1000
    include_total_count: count all devices that the filter chooses
    include_meta: show `meta`
    include_topics: show `topics`
    include_webpush_keys: show the keys of Web Push subscriptions
    """

    filter: DeviceFilter | None = None
    cursor: Annotated[str, Meta(max_length=255)] | None = None
    since: Annotated[str, Meta(max_length=255)] | None = None
    limit: int | None = None
    include_total_count: bool | None = None
    include_meta: bool | None = None
    include_topics: bool | None = None
    include_webpush_keys: bool | None = None


class DeviceListResult(Result):
    """A page of devices.

    items: the devices, in the order of their ids
    next_cursor: `cursor` of the next page, when there is one
    has_more: whether there is a next page
    total_count: how many devices the filter chooses, when asked for
    """

    items: list[Device]
    next_cursor: str = ""
    has_more: bool = False
    total_count: int = 0


async def device_list(ctx: Context, params: DeviceListParams) -> DeviceListResult:
    """List devices, page by page in the order of their ids.

    A filter chooses devices that are in any entry of each list that it holds; lists that are absent or empty do not
    restrict. A list may be given in `filter` or beside it, not in both places (107). Devices that the provider has
    declared dead are listed too, with their `state`.
    """
    chosen = filter_params(_merged(params))
    limit = page_limit(params.limit)
    found = await devices.page(
        ctx.database,
        chosen,
        after=id_cursor(params.cursor, params.since),
        limit=limit + 1,
        include_topics=bool(params.include_topics),
    )
    items = [
        whole_device(
            row,
            meta=bool(params.include_meta),
            topics=bool(params.include_topics),
            webpush_keys=bool(params.include_webpush_keys),
        )
        for row in found[:limit]
    ]
    more = len(found) > limit
    total = await devices.count(ctx.database, chosen) if params.include_total_count else 0
    return DeviceListResult(items, next_cursor=items[-1].id if more else "", has_more=more, total_count=total)


def _merged(params: DeviceListParams) -> DeviceFilter:
    """Return the filter with the lists that stand beside it; BadRequestError when one stands in both places."""
    inner = params.filter or DeviceFilter()
    merged = DeviceFilter(condition=inner.condition or params.condition)
    for name in FIELDS:
        outside, inside = getattr(params, name), getattr(inner, name)
        if outside and inside:
            raise BadRequestError(f"{name} is given both in the filter and beside it", path=name)
        setattr(merged, name, inside or outside)
    return merged


METHODS = (device_register, device_update, device_remove, device_list)
