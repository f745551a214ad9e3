"""Which devices a call is about: the filter that device_list and send_push_notification share."""

from typing import Annotated

from msgspec import Meta

from delivery.conditions import Condition, ConditionError, parse
from methods.aliases import Platform, Provider, platform_names, provider_names
from methods.errors import BadRequestError
from methods.method import Params
from methods.tokens import stored_forms
from storage.ids import as_id, known_form

# 255 characters are at most 1,020 bytes: two of them fit into one B-tree entry (2,704 bytes).
Name = Annotated[str, Meta(min_length=1, max_length=255)]
NameOrEmpty = Annotated[str, Meta(max_length=255)]
ProviderId = Annotated[str, Meta(max_length=128)]
Token = Annotated[str, Meta(min_length=1, max_length=8192)]
Ids = Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=10_000)]
Users = Annotated[list[NameOrEmpty], Meta(max_length=10_000)]
Tokens = Annotated[list[Token], Meta(max_length=10_000)]
Topics = Annotated[list[Name], Meta(max_length=1000)]

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


class DeviceFilter(Params):
    """Any-of inside a list, and across lists; a list that is absent or empty does not restrict.

    ids: ids of devices; a malformed one names nothing
    users: users, any of which is logged in on the device; "" stands for devices without a user
    topics: topics, any of which the device has
    providers: providers of the devices; `gcm` is another word for fcm. Parts of apns are `apns_internal` (registered
        for the sandbox), `apns_voip` (with a VoIP token) and `apns_internal_voip` (both)
    platforms: platforms of the devices; `apns` is another word for ios
    tokens: tokens as the provider gave them, VoIP tokens too; for Web Push the endpoint or the whole subscription
    provider_ids: named credentials; "" stands for the provider's default one
    locales: locales, letter for letter
    condition: a condition over topics, as `'news' in topics && !('sport' in topics)`
    """

    ids: Ids | None = None
    users: Users | None = None
    topics: Topics | None = None
    providers: Annotated[list[Provider], Meta(max_length=100)] | None = None
    platforms: Annotated[list[Platform], Meta(max_length=100)] | None = None
    tokens: Tokens | None = None
    provider_ids: Annotated[list[ProviderId], Meta(max_length=1000)] | None = None
    locales: Annotated[list[NameOrEmpty], Meta(max_length=1000)] | None = None
    condition: str | None = None


FIELDS = ("ids", "users", "topics", "providers", "platforms", "tokens", "provider_ids", "locales")


def filter_params(chosen: DeviceFilter | None) -> dict[str, object]:
    """Return what the fragment `_filter` of sql/devices.sql takes: a list for each field, None where all are meant.

    BadRequestError when a condition is none.
    """
    if chosen is None:
        return dict.fromkeys((*FIELDS, "c_topics", "c_program"))
    condition = _condition(chosen.condition)
    # of a condition that only devices with one of some topics can fulfil, only these are looked at
    driven = condition.drive if condition is not None and not chosen.topics else None
    return {
        "c_topics": condition.topics if condition is not None else None,
        "c_program": condition.program if condition is not None else None,
        "ids": known_form(chosen.ids) if chosen.ids else None,
        "users": chosen.users or None,
        "topics": chosen.topics or driven,
        "providers": provider_names(chosen.providers),
        "platforms": platform_names(chosen.platforms),
        "tokens": token_forms(chosen.tokens),
        "provider_ids": chosen.provider_ids or None,
        "locales": chosen.locales or None,
    }


def _condition(text: str | None) -> Condition | None:
    try:
        return None if text is None else parse(text)
    except ConditionError as error:
        raise BadRequestError(str(error), path="filter.condition") from None


def token_forms(tokens: list[str] | None) -> list[str] | None:
    """Return every form in which these tokens may be stored, None where all are meant."""
    return [form for token in tokens for form in stored_forms(token)] if tokens else None


def page_limit(limit: int | None) -> int:
    """Return the number of items on a page: 100 unless told, never more than 1000."""
    return min(limit, MAX_LIMIT) if limit is not None and limit > 0 else DEFAULT_LIMIT


def id_cursor(cursor: str | None, since: str | None = None) -> str | None:
    """Return the id that a page of devices begins after; BadRequestError when it is none of ours."""
    given = cursor or since
    if not given:
        return None
    after = as_id(given)
    if after is None:
        raise BadRequestError("the cursor is not the id of a device", path="cursor" if cursor else "since")
    return after
