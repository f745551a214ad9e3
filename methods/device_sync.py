"""Accounts of devices: several users logged in on one device, and how they come and go."""

import time
from typing import Annotated

from msgspec import Meta, field

from methods.aliases import Provider, provider_names
from methods.context import Context
from methods.errors import BadRequestError, NotFoundError
from methods.filters import Name, ProviderId, Token
from methods.method import Params, Result
from methods.registration import Accounts, DescriptionParams, TopicsOp, described_device, users_of
from methods.sync_tokens import SyncTokens
from methods.tokens import stored_forms
from storage import accounts
from storage.accounts import MOST_USERS, TooManyUsersError
from storage.ids import as_id

_DAY_SECONDS = 86_400
_MOST_DAYS = 30

SyncToken = Annotated[str, Meta(max_length=4096)]


class DeviceAccountsUpdateParams(Params):
    """Which device, by `device_id` or by `provider` and `token`, and what to do with its users.

    op: add, remove or set; `set` with nothing takes all away
    accounts: users
    device_id: the device
    provider: its provider, in any word that device_register takes
    token: its token, or its VoIP token
    provider_id: the named credential that it was registered with, when that is not the provider's default one
    """

    op: TopicsOp
    accounts: Accounts | None = None
    device_id: Annotated[str, Meta(max_length=255)] | None = None
    provider: Provider | None = None
    token: Token | None = None
    provider_id: ProviderId | None = None


class DeviceAccountsUpdateResult(Result):
    """Who is logged in on the device now.

    id: the device
    user: its main user
    accounts: the others
    """

    id: str
    user: str = ""
    accounts: list[str] = field(default_factory=list)


async def device_accounts_update(ctx: Context, params: DeviceAccountsUpdateParams) -> DeviceAccountsUpdateResult:
    """Add users to a device, take them off it, or say who is logged in on it.

    Whoever leaves, the others stay: when the main user does, the one who was there longest follows. Topics are left as
    they are. A device of nobody stays registered. 104 when there is no such device, 107 when there would be more than
    101 users.
    """
    device_id = await _device(ctx, params)
    users = users_of(params.accounts or [])
    try:
        found = await accounts.change(ctx.database, device_id, params.op, users) if device_id else None
    except TooManyUsersError:
        raise _too_many("accounts") from None
    if found is None:
        raise NotFoundError("there is no such device", path="device_id" if params.device_id else "token")
    return DeviceAccountsUpdateResult(found.id, found.user_id, found.accounts)


async def _device(ctx: Context, params: DeviceAccountsUpdateParams) -> str | None:
    provider, token = provider_names([params.provider] if params.provider else None), params.token
    if params.device_id and not (provider or token):
        return as_id(params.device_id)
    if params.device_id or not (provider and token):
        raise BadRequestError("say which device: device_id, or provider and token", path="device_id")
    return await accounts.find(ctx.database, provider, params.provider_id or "", stored_forms(token))


class DeviceSyncTokenParams(Params):
    """For whom, and for how long.

    user: the user that the token will log in
    ttl_s: seconds that it is good for: a day unless given, at most 30 days
    """

    user: Name
    ttl_s: Annotated[int, Meta(ge=1, le=_MOST_DAYS * _DAY_SECONDS)] | None = None


class DeviceSyncTokenResult(Result):
    """A token for device_sync.

    token: the token
    expires_at: when it ends, Unix seconds
    """

    token: str
    expires_at: int


async def device_sync_token(ctx: Context, params: DeviceSyncTokenParams) -> DeviceSyncTokenResult:
    """Issue a token that lets device_sync log this user in on a device.

    It is signed with a key derived from the server's secret key, and good until it expires, on any device and any
    number of times; nothing of it is stored. It ends before that when the user is removed.
    """
    now, ttl = time.time(), params.ttl_s or _DAY_SECONDS
    return DeviceSyncTokenResult(SyncTokens(ctx.vault).issue(params.user, now, ttl), int(now + ttl))


class DeviceSyncParams(DescriptionParams, kw_only=True):
    """The device, found by provider, provider_id and token, and who is to be logged in on it.

    push_sync_tokens: tokens of device_sync_token, one for each user
    """

    push_sync_tokens: Annotated[list[SyncToken], Meta(min_length=1, max_length=100)]


class DeviceSyncResult(Result):
    """What came of it.

    id: the device; absent when no token was valid
    user: its main user
    accounts: the others
    invalid_push_sync_tokens: the tokens that were not valid, always a list
    """

    invalid_push_sync_tokens: list[str]
    id: str = ""
    user: str = ""
    accounts: list[str] = field(default_factory=list)


async def device_sync(ctx: Context, params: DeviceSyncParams) -> DeviceSyncResult:
    """Log several users in on one device, each with a token of theirs.

    The device is found by its token, else made; the users come to those who are there, and nobody leaves
    (device_accounts_update and device_remove do that). Of a device that exists only what is given is changed. Tokens
    that were not issued here, have expired, or belong to a user that was removed since are answered, and the others
    count all the same; when none is valid nothing changes. A push to any of its users then reaches the device, once.
    """
    users, invalid = await _read(ctx, params.push_sync_tokens)
    device = described_device(params, ctx.webpush_origins, users=users)
    if not users:
        return DeviceSyncResult(invalid)
    try:
        found = await accounts.log_in(ctx.database, device)
    except TooManyUsersError:
        raise _too_many("push_sync_tokens") from None
    return DeviceSyncResult(invalid, found.id, found.user_id, found.accounts)


async def _read(ctx: Context, tokens: list[str]) -> tuple[list[str], list[str]]:
    """Return the users of the valid tokens, and the tokens that are not."""
    signed, now = SyncTokens(ctx.vault), time.time()
    claims = {token: signed.read(token, now) for token in tokens}
    ended = await accounts.sync_token_limits(ctx.database, [claim.user for claim in claims.values() if claim])
    users: list[str] = []
    invalid: list[str] = []
    for token, claim in claims.items():
        if claim and claim.issued_at >= ended.get(claim.user, 0.0):
            users.append(claim.user)
        else:
            invalid.append(token)
    return users_of(users), invalid


def _too_many(path: str) -> BadRequestError:
    return BadRequestError(f"a device has at most {MOST_USERS} users", path=path)


METHODS = (device_accounts_update, device_sync_token, device_sync)
