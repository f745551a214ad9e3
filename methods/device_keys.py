"""Device keys: signed, short-lived keys with which an app acts for its own user, with no backend in between.

A key says whose it is, on which device, until when, and what it may call. It is signed with a key that is derived from
the server's secret key; nothing of it is stored. methods/bounds.py holds its calls to its own user.
"""

import base64
import binascii
import hashlib
import hmac
import logging
import math
import time
from typing import Annotated

import msgspec
from msgspec import Meta

from methods.callers import Caller, DeviceUser
from methods.context import Context
from methods.errors import BadRequestError, ForbiddenError
from methods.filters import Name
from methods.method import Empty, Params, Result
from storage import api_keys
from storage.ids import as_id
from storage.vault import Vault

_LOG = logging.getLogger(__name__)
_PURPOSE = "device keys 1"
_SIGNATURE_BYTES = 16
_LONGEST = 8192
_HOUR_SECONDS = 3600
_MOST_SECONDS = 30 * 86_400

PREFIX = b"dk_"
"""How every device key begins."""

DEVICE_METHODS = (
    "device_register",
    "device_update",
    "device_remove",
    "device_topic_update",
    "user_preferences_update",
    "user_preferences_get",
    "update_push_status",
)
"""What a device key may call at most."""


class DeviceClaim(msgspec.Struct, array_like=True, frozen=True):
    """What a device key says; times are Unix seconds, an empty list of credentials means all."""

    user: str
    device_id: str
    issued_at: float
    expires_at: float
    methods: list[str]
    credentials: list[str]

    @property
    def caller(self) -> Caller:
        """Who calls with this key."""
        return Caller(
            "device key",
            frozenset(self.methods),
            credentials=frozenset(self.credentials),
            expires_at=self.expires_at,
            device=DeviceUser(self.user, self.device_id),
        )


class DeviceKeys:
    """Issues and reads device keys of this installation."""

    def __init__(self, vault: Vault) -> None:
        self._key = vault.derived(_PURPOSE)

    def __repr__(self) -> str:
        return "DeviceKeys()"

    def issue(self, claim: DeviceClaim) -> str:
        """Return the key that says this."""
        body = msgspec.msgpack.encode(claim)
        return (PREFIX + base64.urlsafe_b64encode(self._signature(body) + body).rstrip(b"=")).decode()

    def read(self, key: bytes, now: float) -> DeviceClaim | None:
        """Return what a key says; None when it was not issued here, or is past its time."""
        text = key.removeprefix(PREFIX)
        if len(key) > _LONGEST or len(text) == len(key):
            return None
        try:
            raw = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(body)):
            return None
        try:
            claim = _CLAIM.decode(body)
        except msgspec.MsgspecError:  # of another release
            return None
        return claim if now < claim.expires_at else None

    def _signature(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)[:_SIGNATURE_BYTES]


_CLAIM = msgspec.msgpack.Decoder(DeviceClaim)


class DeviceKeyCreateParams(Params):
    """For whom, for how long, and for what.

    user: the user who acts with it, and for whom alone
    device_id: the only device that it is good for; any device of the user when absent
    ttl_s: seconds that it is good for: an hour unless given, at most 30 days
    allow: methods that it may call, among device_register, device_update, device_remove, device_topic_update,
        user_preferences_update, user_preferences_get and update_push_status; all of those unless given
    """

    user: Name
    device_id: Annotated[str, Meta(max_length=255)] | None = None
    ttl_s: Annotated[int, Meta(ge=1, le=_MOST_SECONDS)] | None = None
    allow: Annotated[list[Annotated[str, Meta(max_length=128)]], Meta(max_length=100)] | None = None


class DeviceKeyCreateResult(Result):
    """A key for an app, which sends it as any API key.

    key: the key
    expires_at: when it ends, Unix seconds
    allow: what it may call
    """

    key: str
    expires_at: int
    allow: list[str]

    def __repr__(self) -> str:
        return f"DeviceKeyCreateResult(expires_at={self.expires_at!r})"


async def device_key_create(ctx: Context, params: DeviceKeyCreateParams) -> DeviceKeyCreateResult:
    """Issue a key with which an app registers, changes, mutes and reports for its own user, without a backend.

    It is signed, and good until it expires, on any API process; nothing of it is stored. Calls for another user, or
    for another device when one is named, are refused (112); what a call leaves out is filled in with the key's own
    user and device. It may call nothing that the key that asks may not, uses its credentials, and ends no later.
    """
    now = time.time()
    expires_at = min(now + (params.ttl_s or _HOUR_SECONDS), ctx.caller.expires_at)
    claim = DeviceClaim(
        user=params.user,
        device_id=_device_id(params.device_id),
        issued_at=now,
        expires_at=expires_at,
        methods=_allowed(ctx.caller, params.allow),
        credentials=sorted(ctx.caller.credentials),
    )
    return DeviceKeyCreateResult(DeviceKeys(ctx.vault).issue(claim), math.floor(expires_at), claim.methods)


def _device_id(given: str | None) -> str:
    if not given:
        return ""
    found = as_id(given)
    if found is None:
        raise BadRequestError("the id is not a UUID", path="device_id")
    return found


def _allowed(caller: Caller, allow: list[str] | None) -> list[str]:
    if not allow:
        found = [name for name in DEVICE_METHODS if caller.may_call(name)]
        if not found:
            raise ForbiddenError("this API key may call nothing that an app may", path="allow")
        return found
    for number, name in enumerate(allow):
        if name not in DEVICE_METHODS:
            raise BadRequestError(f"an app may not call {name!r}", path=f"allow[{number}]")
        if not caller.may_call(name):
            raise ForbiddenError(f"this API key may not call {name} itself", path=f"allow[{number}]")
    return list(dict.fromkeys(allow))


class DeviceKeyRevokeParams(Params):
    """Whose keys; exactly one.

    user: this user's
    everyone: true: all there are
    """

    user: Name | None = None
    everyone: bool | None = None


async def device_key_revoke(ctx: Context, params: DeviceKeyRevokeParams) -> Empty:
    """End every device key that a user was given until now; those that are issued from now on are good.

    At once in every API process. When a user is removed their keys end by themselves.
    """
    if (params.user is None) is not (params.everyone or False):
        raise BadRequestError('say whose: user, or "everyone": true', path="user")
    await api_keys.end_device_keys(ctx.database, params.user or "", time.time())
    whose = {"user": params.user or "", "everyone": bool(params.everyone), "by": ctx.caller.key_name}
    _LOG.info("device keys were revoked", extra=whose)
    return Empty()


METHODS = (device_key_create, device_key_revoke)
