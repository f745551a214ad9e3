"""Topics of devices and of users. A channel of the 2023 draft is a topic: methods/subscriptions.py has that form."""

from typing import Annotated

from msgspec import Meta

from methods.aliases import Platform, Provider, platform_names, provider_names
from methods.context import Context
from methods.devices import Device, device_of
from methods.errors import BadRequestError, ConflictError, NotFoundError
from methods.filters import (
    Ids,
    Name,
    NameOrEmpty,
    Topics,
    Users,
    page_limit,
)
from methods.method import Empty, Params, Result
from methods.registration import TopicsOp
from storage import topics
from storage.ids import as_id, known_form
from storage.topics import DeviceTopicRow

Cursor = Annotated[str, Meta(max_length=1024)]

_MAX_BIGINT = 2**63 - 1


class DeviceTopicUpdateParams(Params):
    """A change of the topics of one device.

    device_id: the device
    op: add, remove or set; `set` with nothing takes all away
    topics: topics
    user: the user that must own the device, else nothing changes
    """

    device_id: str
    op: TopicsOp
    topics: Topics | None = None
    user: NameOrEmpty | None = None


async def device_topic_update(ctx: Context, params: DeviceTopicUpdateParams) -> Empty:
    """Add topics to a device, remove or replace them.

    104 when there is no such device; 113 when `user` is given and another user owns it: then nothing changes.
    """
    await change_device_topics(ctx, params.device_id, params.op, params.topics or [], owner=params.user or None)
    return Empty()


async def change_device_topics(
    ctx: Context, device_id: str, op: TopicsOp, changed: list[str], *, owner: str | None = None
) -> None:
    """Change the topics of a device; NotFoundError, or ConflictError when it is not the device of `owner`."""
    known = as_id(device_id)
    done = await topics.change_device(ctx.database, known, op, changed, owner=owner) if known else None
    if done is None:
        raise NotFoundError("there is no such device", path="device_id")
    if not done:
        raise ConflictError("the device belongs to another user", path="user")


class DeviceTopicFilter(Params):
    """Any-of inside a list, and across fields; what is absent or empty does not restrict.

    device_ids: ids of devices; a malformed one names nothing
    device_providers: providers of the devices, in any word that a filter of device_list takes
    device_platforms: platforms of the devices; `apns` is another word for ios
    device_users: users; "" stands for devices without a user
    topics: topics
    topic_prefix: how the topics begin
    """

    device_ids: Ids | None = None
    device_providers: Annotated[list[Provider], Meta(max_length=100)] | None = None
    device_platforms: Annotated[list[Platform], Meta(max_length=100)] | None = None
    device_users: Users | None = None
    topics: Topics | None = None
    topic_prefix: NameOrEmpty | None = None


class DeviceTopicListParams(Params):
    """What to list.

    filter: which topics of which devices; absent means all
    cursor: `next_cursor` of the page before
    limit: items on a page: 100 unless given, at most 1000
    include_device: show the device of each, not only its id
    include_total_count: count all that the filter chooses
    """

    filter: DeviceTopicFilter | None = None
    cursor: Cursor | None = None
    limit: int | None = None
    include_device: bool | None = None
    include_total_count: bool | None = None


class DeviceTopic(Result):
    """A topic of a device.

    id: what names this pair of device and topic
    topic: the topic
    device: the device: its id alone, unless more is asked for
    """

    id: str
    topic: str
    device: Device


class DeviceTopicListResult(Result):
    """A page of topics of devices.

    items: topics of devices, in the order of device and topic
    next_cursor: `cursor` of the next page, when there is one
    has_more: whether there is a next page
    total_count: how many the filter chooses, when asked for
    """

    items: list[DeviceTopic]
    next_cursor: str = ""
    has_more: bool = False
    total_count: int = 0


async def device_topic_list(ctx: Context, params: DeviceTopicListParams) -> DeviceTopicListResult:
    """List which devices have which topics, page by page in the order of device and topic."""
    chosen = _chosen(params.filter or DeviceTopicFilter())
    limit = page_limit(params.limit)
    after = pair_cursor(params.cursor, "cursor")
    found = await topics.page_of_devices(ctx.database, chosen, after=after, limit=limit + 1)
    items = [
        DeviceTopic(pair_id(row), row.topic, device_of(row) if params.include_device else Device(id=row.id))
        for row in found[:limit]
    ]
    more = len(found) > limit
    total = await topics.count_of_devices(ctx.database, chosen) if params.include_total_count else 0
    return DeviceTopicListResult(items, next_cursor=items[-1].id if more else "", has_more=more, total_count=total)


def _chosen(chosen: DeviceTopicFilter) -> dict[str, object]:
    return {
        "device_ids": known_form(chosen.device_ids) if chosen.device_ids else None,
        "providers": provider_names(chosen.device_providers),
        "platforms": platform_names(chosen.device_platforms),
        "users": chosen.device_users or None,
        "topics": chosen.topics or None,
        "topic_prefix": chosen.topic_prefix or None,
        "tokens": None,
    }


def pair_id(row: DeviceTopicRow) -> str:
    """Return what names a pair of device and topic, and where the page after it begins."""
    return f"{row.id}:{row.topic}"


def pair_cursor(cursor: str | None, path: str) -> tuple[str, str] | None:
    """Return the device and the topic that a page begins after; BadRequestError when the cursor is none of ours."""
    if not cursor:
        return None
    device_id, separator, topic = cursor.partition(":")
    known = as_id(device_id)
    if known is None or not separator:
        raise BadRequestError("the cursor is not one of this list", path=path)
    return known, topic


class UserTopicUpdateParams(Params):
    """A change of the topics of a user.

    user: the user; "" is everyone
    op: add, remove or set; `set` with nothing takes all away
    topics: topics
    """

    user: NameOrEmpty
    op: TopicsOp
    topics: Topics | None = None


async def user_topic_update(ctx: Context, params: UserTopicUpdateParams) -> Empty:
    """Add topics to a user, remove or replace them, and so for the devices of that user.

    Devices that are registered for the user later get them too. `set` takes from the devices what it takes from the
    user; topics that only a device has stay. The user "" is everyone: what is set there reaches each device when it
    is registered next.
    """
    await topics.change_user(ctx.database, params.user, params.op, params.topics or [])
    return Empty()


class UserTopicFilter(Params):
    """Any-of inside a list, and across fields; what is absent or empty does not restrict.

    users: users; "" is everyone
    topics: topics
    topic_prefix: how the topics begin
    """

    users: Users | None = None
    topics: Annotated[list[Name], Meta(max_length=1000)] | None = None
    topic_prefix: NameOrEmpty | None = None


class UserTopicListParams(Params):
    """What to list.

    filter: which topics of which users; absent means all
    cursor: `next_cursor` of the page before
    limit: items on a page: 100 unless given, at most 1000
    include_total_count: count all that the filter chooses
    """

    filter: UserTopicFilter | None = None
    cursor: Cursor | None = None
    limit: int | None = None
    include_total_count: bool | None = None


class UserTopic(Result):
    """A topic of a user.

    id: what names this pair of user and topic
    user: the user; left out for everyone
    topic: the topic
    """

    id: str
    topic: str
    user: str = ""


class UserTopicListResult(Result):
    """A page of topics of users.

    items: topics of users, in the order in which they were added
    next_cursor: `cursor` of the next page, when there is one
    has_more: whether there is a next page
    total_count: how many the filter chooses, when asked for
    """

    items: list[UserTopic]
    next_cursor: str = ""
    has_more: bool = False
    total_count: int = 0


async def user_topic_list(ctx: Context, params: UserTopicListParams) -> UserTopicListResult:
    """List which users have which topics, page by page in the order in which they were added."""
    given = params.filter or UserTopicFilter()
    chosen = {
        "users": given.users or None,
        "topics": given.topics or None,
        "topic_prefix": given.topic_prefix or None,
    }
    limit = page_limit(params.limit)
    after = _number_cursor(params.cursor)
    found = await topics.page_of_users(ctx.database, chosen, after=after, limit=limit + 1)
    items = [UserTopic(str(row.id), row.topic, row.user_id) for row in found[:limit]]
    more = len(found) > limit
    total = await topics.count_of_users(ctx.database, chosen) if params.include_total_count else 0
    return UserTopicListResult(items, next_cursor=items[-1].id if more else "", has_more=more, total_count=total)


def _number_cursor(cursor: str | None) -> int | None:
    if not cursor:
        return None
    if not (cursor.isascii() and cursor.isdigit() and int(cursor) <= _MAX_BIGINT):
        raise BadRequestError("the cursor is not one of this list", path="cursor")
    return int(cursor)


METHODS = (device_topic_update, device_topic_list, user_topic_update, user_topic_list)
