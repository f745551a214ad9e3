"""Keys of the API: making, replacing, listing and revoking them. docs/keys.md tells what each bound means."""

import logging
import math
import time
from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, field

from methods.callers import Caller
from methods.errors import BadRequestError, ConflictError, ForbiddenError, NotFoundError
from methods.groups import GROUPS, permitted
from methods.method import Empty, Method, NoParams, Params, Result
from methods.networks import is_within, read_network
from methods.notifications import UnixTime
from methods.server import ServerContext
from storage import api_keys
from storage.api_keys import ApiKey, FoundKey, KeyBounds, KeyGoneError, NameTakenError
from storage.database import Database

_LOG = logging.getLogger(__name__)
_DAY_SECONDS = 86_400
_MOST_OVERLAP_DAYS = 90
_LEAST_RATE, _MOST_RATE = 0.001, 1_000_000

KeyName = Annotated[str, Meta(min_length=1, max_length=255)]
Entries = Annotated[list[Annotated[str, Meta(min_length=1, max_length=128)]], Meta(max_length=1000)]


class KeyCreateParams(Params):
    """A key. What is absent, or an empty list, binds it to nothing; with `replaces`, what is absent stays as it was.

    name: its name; that of a key that is not valid any more may be used again
    methods: what it may call: methods, and groups of them: @send, @devices, @users, @read, @admin
    credentials: provider_ids: the only credentials that it may register devices for, send with and manage
    rate: calls a second that it may make, in each API process; 0: as many as come
    burst: calls that it may make at once; the rate, rounded up, unless given
    addresses: the only networks and addresses that it may be used from, IPv4 and IPv6, as 10.0.0.0/8
    expires_at: when it ends, Unix seconds; never unless given
    replaces: a valid key, which ends `overlap_s` from now, so that there is time to put the new one in its place
    overlap_s: for how many seconds the replaced key stays valid: a day unless given, at most 90 days; 0: not at all
    """

    name: KeyName
    methods: Entries | None = None
    credentials: Entries | None = None
    rate: Annotated[float, Meta(ge=0, le=_MOST_RATE)] | None = None
    burst: Annotated[int, Meta(ge=1, le=_MOST_RATE)] | None = None
    addresses: Entries | None = None
    expires_at: UnixTime | None = None
    replaces: KeyName | None = None
    overlap_s: Annotated[int, Meta(ge=0, le=_MOST_OVERLAP_DAYS * _DAY_SECONDS)] | None = None


class KeyCreateResult(Result):
    """The key: the only time that it is shown.

    name: its name
    key: the key
    expires_at: when it ends, Unix seconds
    replaced_until: when the replaced key ends, Unix seconds
    """

    name: str
    key: str
    expires_at: int = 0
    replaced_until: int = 0

    def __repr__(self) -> str:
        return f"KeyCreateResult(name={self.name!r})"


class KeyItem(Result):
    """A key, without what it is.

    name: its name
    state: valid, expired or revoked
    methods: what it may call, as it was said; absent: everything
    credentials: the credentials that it is bound to; absent: none
    rate: calls a second in each API process; absent: as many as come
    burst: calls at once
    addresses: the networks that it is bound to; absent: none
    created_at: when it was made, Unix seconds
    expires_at: when it ends or ended, Unix seconds
    revoked_at: when it was revoked, Unix seconds
    last_used_at: the last hour, as Unix seconds, in which it was used
    """

    name: str
    state: Literal["valid", "expired", "revoked"]
    methods: list[str] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)
    rate: float = 0
    burst: int = 0
    addresses: list[str] = field(default_factory=list)
    created_at: int = 0
    expires_at: int = 0
    revoked_at: int = 0
    last_used_at: int = 0


class KeyListResult(Result):
    """Keys by name.

    items: the keys, those that are not valid any more too
    """

    items: list[KeyItem]


class KeyNameParams(Params):
    """Which key.

    name: its name
    """

    name: KeyName


async def key_create(ctx: ServerContext, params: KeyCreateParams) -> KeyCreateResult:
    """Make a key of the API; the answer is the only time that it is shown.

    A key makes no key that may do more than itself: 112 for methods, credentials, addresses, a rate or a time beyond
    its own, and for replacing a key that may do more. With `replaces` a key is changed without downtime: both are valid
    until the overlap is over, but for the expiry as the other one is bound. 107 for a method or group that does not
    exist, a network that is none, or a time that is past; 104 when there is no valid key to replace; 113 when a valid
    key has the name.
    """
    return await create_key(ctx.database, ctx.caller, ctx.table, params)


async def create_key(
    database: Database, caller: Caller, table: Mapping[str, Method], params: KeyCreateParams
) -> KeyCreateResult:
    """Make a key for this caller; errors as `key_create`."""
    old = await _replaced(database, caller, table, params)
    bounds = _bounds(params, table, old or KeyBounds())
    _check_rights(caller, bounds, table)
    _check_limits(caller, bounds)
    try:
        if old is None:
            key, until = await api_keys.add(database, params.name, bounds), 0.0
        else:
            overlap = _DAY_SECONDS if params.overlap_s is None else params.overlap_s
            key, until = await api_keys.replace(
                database, params.name, bounds, replaced_id=old.id, overlap_seconds=overlap
            )
    except NameTakenError:
        raise ConflictError("a valid key has this name: revoke it, or choose another", path="name") from None
    except KeyGoneError:
        raise _no_key("replaces") from None
    facts = {"key": params.name, "by": caller.key_name, "replaces": params.replaces or ""}
    _LOG.info("an API key was made", extra=facts)
    return KeyCreateResult(params.name, key, int(bounds.expires_at), int(until))


async def _replaced(
    database: Database, caller: Caller, table: Mapping[str, Method], params: KeyCreateParams
) -> FoundKey | None:
    if params.replaces is None:
        if params.overlap_s is not None:
            raise BadRequestError("it goes with `replaces`", path="overlap_s")
        return None
    if params.replaces == params.name:
        raise BadRequestError("both keys are valid for a time: the new one takes another name", path="replaces")
    return await _handled(database, caller, table, params.replaces, "replaces")


async def _handled(database: Database, caller: Caller, table: Mapping[str, Method], name: str, path: str) -> FoundKey:
    """Return the valid key of that name; NotFoundError, or ForbiddenError when it may do more than the caller."""
    found = await api_keys.find(database, name)
    if found is None:
        raise _no_key(path)
    _check_rights(caller, found, table)
    return found


def _no_key(path: str) -> NotFoundError:
    return NotFoundError("there is no valid key of this name", path=path)


def _bounds(params: KeyCreateParams, table: Mapping[str, Method], old: KeyBounds) -> KeyBounds:
    """Return the bounds of the new key; BadRequestError for what means nothing."""
    for number, entry in enumerate(params.methods or []):
        if entry not in table and entry not in GROUPS:
            raise BadRequestError(f"there is no method or group {entry!r}", path=f"methods[{number}]")
    rate, burst = _rate(params, old)
    expires_at = params.expires_at or 0
    if expires_at and expires_at <= time.time():
        raise BadRequestError("this time is past", path="expires_at")
    return KeyBounds(
        methods=old.methods if params.methods is None else params.methods,
        credentials=old.credentials if params.credentials is None else params.credentials,
        addresses=old.addresses if params.addresses is None else _networks(params.addresses),
        rate=rate,
        burst=burst,
        expires_at=expires_at,
    )


def _rate(params: KeyCreateParams, old: KeyBounds) -> tuple[float, int]:
    rate = old.rate if params.rate is None else params.rate
    if not rate:
        if params.burst is not None:
            raise BadRequestError("it goes with `rate`", path="burst")
        return 0.0, 0
    if rate < _LEAST_RATE:
        raise BadRequestError(f"at least {_LEAST_RATE}, or 0 for as many calls as come", path="rate")
    if params.burst is not None:
        return rate, params.burst
    return rate, old.burst if params.rate is None else max(1, math.ceil(rate))


def _networks(texts: list[str]) -> list[str]:
    found = []
    for number, text in enumerate(texts):
        try:
            found.append(str(read_network(text)))
        except ValueError as error:
            raise BadRequestError(str(error), path=f"addresses[{number}]") from None
    return found


def _check_rights(caller: Caller, bounds: KeyBounds, table: Mapping[str, Method]) -> None:
    """ForbiddenError for a key that may call or use what the caller may not."""
    if caller.methods and not (bounds.methods and permitted(bounds.methods, table) <= caller.methods):
        raise _beyond("methods")
    if caller.credentials and not (bounds.credentials and caller.credentials.issuperset(bounds.credentials)):
        raise _beyond("credentials")


def _check_limits(caller: Caller, bounds: KeyBounds) -> None:
    """ForbiddenError for a key that is valid in more places, for longer or more often than the caller's."""
    networks = [read_network(text) for text in bounds.addresses]
    if caller.addresses and not (networks and all(is_within(each, caller.addresses) for each in networks)):
        raise _beyond("addresses")
    if (bounds.expires_at or math.inf) > caller.expires_at:
        raise _beyond("expires_at")
    if caller.rate and not (0 < bounds.rate <= caller.rate.rate and bounds.burst <= caller.rate.burst):
        raise _beyond("rate")


def _beyond(path: str) -> ForbiddenError:
    return ForbiddenError("a key that may do more than this one is not for it to make, replace or revoke", path=path)


async def key_list(ctx: ServerContext, params: NoParams) -> KeyListResult:
    """List the keys of the API and what each may do, never the keys themselves.

    The key of the settings (TOCSIN_API_KEY) and the keys of apps (device_key_create) are not among them.
    """
    return KeyListResult(await items(ctx.database))


async def items(database: Database) -> list[KeyItem]:
    """Return every key by its name."""
    now = time.time()
    return [_item(key, now) for key in await api_keys.list_all(database)]


def _item(key: ApiKey, now: float) -> KeyItem:
    expired = 0 < key.expires_at <= now
    return KeyItem(
        name=key.name,
        state="revoked" if key.revoked_at else "expired" if expired else "valid",
        methods=key.methods,
        credentials=key.credentials,
        rate=key.rate or 0,  # 0.0 would be shown
        burst=key.burst,
        addresses=key.addresses,
        created_at=key.created_at,
        expires_at=int(key.expires_at),
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
    )


async def key_revoke(ctx: ServerContext, params: KeyNameParams) -> Empty:
    """Make a key invalid.

    It is refused within two seconds in every API process. 104 when there is no valid key of this name, 112 when it may
    do more than the key that asks. Keys of apps that were made with it live on: device_key_revoke ends those.
    """
    await _handled(ctx.database, ctx.caller, ctx.table, params.name, "name")
    if not await api_keys.revoke(ctx.database, params.name):
        raise _no_key("name")
    _LOG.info("an API key was revoked", extra={"key": params.name, "by": ctx.caller.key_name})
    return Empty()


METHODS = (key_create, key_list, key_revoke)
