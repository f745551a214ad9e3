"""Topics in the words of the 2023 draft: devices subscribe to channels. A channel is a topic: the same rows."""

from typing import Annotated

from msgspec import Meta

from methods.aliases import Platform, platform_names
from methods.context import Context
from methods.filters import Ids, Tokens, Topics, Users, page_limit, token_forms
from methods.method import Empty, Params, Result
from methods.topics import Cursor, change_device_topics, pair_cursor, pair_id
from storage import topics
from storage.ids import known_form


class DeviceSubscriptionParams(Params):
    """A device and channels.

    device_id: the device
    channels: channels, which are topics
    """

    device_id: str
    channels: Topics | None = None


async def device_subscription_add(ctx: Context, params: DeviceSubscriptionParams) -> Empty:
    """Subscribe a device to channels, beside those it has. 104 when there is no such device."""
    await change_device_topics(ctx, params.device_id, "add", params.channels or [])
    return Empty()


async def device_subscription_remove(ctx: Context, params: DeviceSubscriptionParams) -> Empty:
    """Unsubscribe a device from channels. 104 when there is no such device."""
    await change_device_topics(ctx, params.device_id, "remove", params.channels or [])
    return Empty()


class DeviceSubscriptionListParams(Params):
    """Which subscriptions: any-of inside a list, and across lists; what is absent or empty does not restrict.

    device_ids: ids of devices; a malformed one names nothing
    device_platforms: platforms of the devices; `apns` is another word for ios
    device_tokens: tokens of devices
    device_users: users; "" stands for devices without a user
    channels: channels, which are topics
    since: the id of the last subscription of the page before
    cursor: another name of `since`
    limit: subscriptions on a page: 100 unless given, at most 1000
    """

    device_ids: Ids | None = None
    device_platforms: Annotated[list[Platform], Meta(max_length=100)] | None = None
    device_tokens: Tokens | None = None
    device_users: Users | None = None
    channels: Topics | None = None
    since: Cursor | None = None
    cursor: Cursor | None = None
    limit: int | None = None


class DeviceSubscription(Result):
    """A channel that a device is subscribed to.

    id: what names this subscription
    device_id: the device
    device_token: its token
    device_platform: its platform
    device_user: its user
    channel: the channel
    """

    id: str
    device_id: str
    channel: str
    device_token: str = ""
    device_platform: str = ""
    device_user: str = ""

    def __repr__(self) -> str:
        return f"DeviceSubscription(id={self.id!r})"


class DeviceSubscriptionListResult(Result):
    """A page of subscriptions.

    items: subscriptions, in the order of device and channel
    has_more: whether there is a next page
    next_cursor: `since` of the next page, when there is one
    """

    items: list[DeviceSubscription]
    has_more: bool = False
    next_cursor: str = ""


async def device_subscription_list(ctx: Context, params: DeviceSubscriptionListParams) -> DeviceSubscriptionListResult:
    """List which devices are subscribed to which channels, page by page in the order of device and channel."""
    limit = page_limit(params.limit)
    after = pair_cursor(params.since, "since") or pair_cursor(params.cursor, "cursor")
    found = await topics.page_of_devices(ctx.database, _chosen(params), after=after, limit=limit + 1)
    items = [
        DeviceSubscription(pair_id(row), row.id, row.topic, row.token, row.platform, row.user_id)
        for row in found[:limit]
    ]
    more = len(found) > limit
    return DeviceSubscriptionListResult(items, has_more=more, next_cursor=items[-1].id if more else "")


def _chosen(params: DeviceSubscriptionListParams) -> dict[str, object]:
    return {
        "device_ids": known_form(params.device_ids) if params.device_ids else None,
        "providers": None,
        "platforms": platform_names(params.device_platforms),
        "users": params.device_users or None,
        "topics": params.channels or None,
        "topic_prefix": None,
        "tokens": token_forms(params.device_tokens),
    }


METHODS = (device_subscription_add, device_subscription_remove, device_subscription_list)
