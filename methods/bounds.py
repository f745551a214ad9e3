"""What a key's calls may be about: the credentials that it is bound to, and an app's own user and device.

One place for all methods, between the door and the method: a parameter `provider_id` is a credential that a call uses,
whichever method has it. Members that a device key fills in are read before the parameters are decoded, since a method
may require what the key already says.
"""

from typing import NamedTuple

import msgspec

from methods.aliases import PROVIDERS
from methods.callers import HOLDS_CALLS, Caller, DeviceUser
from methods.context import Context
from methods.errors import BadRequestError, ForbiddenError
from methods.method import Params
from methods.providers import ProviderPutParams
from methods.receipts import UpdatePushStatusParams
from methods.recipients import Recipient
from methods.registration import DeviceRegisterParams, DeviceUpdateParams
from methods.sending import SendPushNotificationParams
from storage import api_keys
from storage.ids import as_id

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY = msgspec.json.Decoder()
_NULL = b"null"


class _Members(NamedTuple):
    """The members in which a method says whose and which device it is about; "" where it has none."""

    user: str
    device: str


_MEMBERS = {
    "device_register": _Members("user", "id"),
    "device_update": _Members("users", "ids"),
    "device_remove": _Members("users", "ids"),
    "device_topic_update": _Members("user", "device_id"),
    "user_preferences_update": _Members("user", ""),
    "user_preferences_get": _Members("user", ""),
    "update_push_status": _Members("", "device_id"),
}
_LISTS = frozenset(("users", "ids"))


def filled(device: DeviceUser, method: str, body: bytes) -> bytes:
    """Return the parameters of an app's call with its user and device filled in.

    ForbiddenError when they name another one, or a method that knows no user; BadRequestError when they are no object.
    """
    if method in HOLDS_CALLS:
        return body
    if method not in _MEMBERS:
        raise ForbiddenError(f"a device key may not call {method}")
    try:
        given = _OBJECT.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        raise BadRequestError("an object is expected") from None
    members = _MEMBERS[method]
    if method == "device_remove" and not device.device_id and not (_has(given, "ids") or _has(given, "tokens")):
        raise BadRequestError("say which of the user's devices: ids or tokens", path="ids")
    _fill(given, members.user, device.user)
    if not _has(given, "receipt_token"):  # which says itself of which device it is
        _fill(given, members.device, device.device_id)
    return msgspec.json.encode(given)


def _has(given: dict[str, msgspec.Raw], member: str) -> bool:
    return member in given and bool(_value(given[member]))


def _fill(given: dict[str, msgspec.Raw], member: str, own: str) -> None:
    if not (member and own):
        return
    value = [own] if member in _LISTS else own
    if member not in given or bytes(given[member]) == _NULL:
        given[member] = msgspec.Raw(msgspec.json.encode(value))
    elif not _is(_value(given[member]), value):
        raise ForbiddenError("this device key is for another user or device", path=member)


def _value(raw: msgspec.Raw) -> object:
    try:
        return _ANY.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        raise BadRequestError("malformed") from None


def _is(given: object, own: str | list[str]) -> bool:
    """Whether a member says the key's own user or device; an id in any spelling."""
    if isinstance(given, list) and isinstance(own, list):
        return len(given) == 1 and _is(given[0], own[0])
    return given == own or (isinstance(given, str) and isinstance(own, str) and as_id(given) == own)


async def check(ctx: Context, params: Params) -> None:
    """ForbiddenError when a call is about what its key has no part in."""
    _check_credentials(ctx.caller, params)
    if ctx.caller.device is not None:
        await _check_device(ctx, ctx.caller.device, params)


def _check_credentials(caller: Caller, params: Params) -> None:
    if isinstance(params, SendPushNotificationParams):
        _check_recipient(caller, params.recipient)
    elif "provider_id" in params.__struct_fields__:
        caller.check_credential(getattr(params, "provider_id", None), "provider_id")
    if isinstance(params, ProviderPutParams) and params.default and caller.credentials:
        raise ForbiddenError("a key for some credentials makes none the default one", path="default")


def _check_recipient(caller: Caller, recipient: Recipient) -> None:
    """Hold a push to the key's credentials: raw addresses say theirs, stored devices are chosen by theirs."""
    if recipient.filter is None:
        caller.check_credential(recipient.provider_id, "recipient.provider_id")
        return
    for provider_id in recipient.filter.provider_ids or [""]:
        caller.check_credential(provider_id, "recipient.filter.provider_ids")


async def _check_device(ctx: Context, device: DeviceUser, params: Params) -> None:
    if isinstance(params, DeviceRegisterParams):
        if any(account != device.user for account in params.accounts or []):
            raise ForbiddenError("a device key logs nobody else in", path="accounts")
        if params.provider and PROVIDERS[params.provider].provider == "webhook":
            raise ForbiddenError("what a webhook calls a device, an app does not say", path="provider")
        if params.id and await _is_anothers(ctx, device, params.id, may_be_new=True):
            raise ForbiddenError("the device belongs to another user", path="id")
    elif isinstance(params, DeviceUpdateParams):
        if params.user_update and (params.user_update.user or device.user) != device.user:
            raise ForbiddenError("this device key is for another user", path="user_update.user")
    elif isinstance(params, UpdatePushStatusParams) and params.receipt_token is None:
        if not params.device_id:
            raise BadRequestError("say which device reports, or give its receipt token", path="device_id")
        if await _is_anothers(ctx, device, params.device_id, may_be_new=False):
            raise ForbiddenError("the device is not one of this user", path="device_id")


async def _is_anothers(ctx: Context, device: DeviceUser, device_id: str, *, may_be_new: bool) -> bool:
    """Whether a device is not the user's; the one that the key was made for is, whoever had it before."""
    known = as_id(device_id)
    if known is None:
        return not may_be_new
    if known == device.device_id:
        return False
    owners = await api_keys.device_owners(ctx.database, known)
    return not may_be_new if owners is None else device.user not in owners
