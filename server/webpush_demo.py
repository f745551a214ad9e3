"""`tocsin serve --demo`: the page of examples/webpush/ under `/demo/`, with which a browser here gets a Web Push.

For a look at Web Push on one's own machine, never for production: whoever can open the page gets a key without being
asked who they are. So everything under `/demo/` is answered to this machine only, asked for by a name of this machine
(a web page elsewhere whose name was made to lead here says its own), and not through a proxy. The key is a device key
of one device of the user `tocsin-demo`: it registers and removes that device, and lets the page ask for a push to it.
"""

import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from delivery.providers.webpush_credential import WebpushSettings
from methods.context import Caller
from methods.device_keys import DeviceClaim, DeviceKeys
from methods.errors import ApiError, BadRequestError, ForbiddenError, NotAvailableError, NotFoundError
from methods.replies import Reply, error_object
from server import envelopes
from server.addresses import Addresses
from server.auth import KeyRing, key_of
from server.demo_start import NEAR, PATH, PROVIDER_ID
from server.dispatcher import Dispatcher, Resources
from storage import api_keys, credentials
from storage.database import DatabaseUnavailableError
from storage.ids import as_id, new_id

USER = "tocsin-demo"
FILES = Path(__file__).parents[1] / "examples" / "webpush"

_KEY_SECONDS = 12 * 3600
_KEY_METHODS = ["device_register", "device_remove", "update_push_status"]
_TTL_SECONDS = 600
_MOST_BODY_BYTES = 16_384
_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "registration.js": "text/javascript; charset=utf-8",
    "sw.js": "text/javascript; charset=utf-8",
}
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "worker-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
_JSON = "application/json"
_NEAR_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
_OF_PROXIES = frozenset((b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"))
_FAR = "the demo answers programs on this machine only: open http://localhost:PORT/demo/ here, without a proxy\n"


class DemoPush(msgspec.Struct, forbid_unknown_fields=True):
    """What a push of the page says; to whom, it does not say."""

    title: str
    body: str = ""


class Credential(msgspec.Struct, frozen=True):
    """What the page sends with, and what its browser subscribes with."""

    provider_id: str
    public_key: str


class Demo:
    """The page, its configuration and its pushes, as an ASGI application; FileNotFoundError when its files are not."""

    def __init__(self, resources: Resources, dispatcher: Dispatcher, keys: KeyRing) -> None:
        self._database = resources.database
        self._device_keys = DeviceKeys(resources.vault)
        self._dispatcher = dispatcher
        self._keys = keys
        self._files = {name: (FILES / name).read_bytes() for name in _TYPES}
        self._app = Starlette(
            routes=[
                Route(PATH, _moved),
                Route(f"{PATH}/", self._file),
                Route(f"{PATH}/config.json", self._config),
                Route(f"{PATH}/push", self._push, methods=["POST"]),
                Route(f"{PATH}/push/{{uid}}", self._status),
                Route(f"{PATH}/{{name}}", self._file),
            ],
            exception_handlers={ApiError: _refused, DatabaseUnavailableError: _away},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, of this machine."""
        if not _is_near(scope):
            await Response(_FAR, 403, _HEADERS)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            return

    async def _file(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in self._files:
            return Response(status_code=404, headers=_HEADERS)
        return Response(self._files[name], headers=_HEADERS | {"content-type": _TYPES[name]})

    async def _config(self, request: Request) -> Response:
        """Issue what the page needs; `?device=` names the device that the page had before."""
        found = await self._credential()
        if found is None:
            raise NotAvailableError("no Web Push credential: start `tocsin serve --demo` again, or set one")
        device_id = await self._own_device(request.query_params.get("device", ""))
        now = time.time()
        claim = DeviceClaim(USER, device_id, now, now + _KEY_SECONDS, _KEY_METHODS, [found.provider_id])
        config = msgspec.to_builtins(found) | {"device_id": device_id, "key": self._device_keys.issue(claim)}
        return _answer(msgspec.json.encode(config | {"expires_at": int(claim.expires_at)}))

    async def _credential(self) -> Credential | None:
        """The default Web Push credential or another real one, else the demo's own."""
        rows = [row for row in await credentials.listed(self._database) if row.provider == "webpush" and row.enabled]
        real = [row for row in rows if row.source != "emulator"]
        usable = sorted(real, key=lambda row: not row.is_default) or [
            row for row in rows if row.provider_id == PROVIDER_ID
        ]
        if not usable:
            return None
        told = msgspec.json.decode(usable[0].settings, type=WebpushSettings)
        return Credential(usable[0].provider_id, told.public_key)

    async def _own_device(self, wanted: str) -> str:
        """The id that the page had, unless it is malformed or somebody else's; else a new one."""
        device_id = as_id(wanted)
        if device_id is None:
            return new_id()
        owners = await api_keys.device_owners(self._database, device_id)
        return device_id if owners in (None, [USER]) else new_id()

    async def _push(self, request: Request) -> Response:
        """Send to the device of the key, and nowhere else."""
        device_id, provider_ids = await self._page(request)
        said = _parsed(await _body(request))
        uid = f"{_uid_prefix(device_id)}{secrets.token_hex(6)}"
        params = {
            "uid": uid,
            "recipient": {"filter": {"ids": [device_id], "provider_ids": sorted(provider_ids)}},
            "notification": _notification(said, uid, str(request.base_url)),
        }
        sender = Caller("demo", frozenset({"send_push_notification"}), credentials=provider_ids)
        return _answer(await self._execute(sender, "send_push_notification", params))

    async def _status(self, request: Request) -> Response:
        """Tell what became of a push of this page."""
        device_id, _ = await self._page(request)
        uid = str(request.path_params["uid"])
        if not uid.startswith(_uid_prefix(device_id)):
            raise NotFoundError("this page sent no such push")
        reader = Caller("demo", frozenset({"push_status"}))
        return _answer(await self._execute(reader, "push_status", {"uid": uid}))

    async def _page(self, request: Request) -> tuple[str, frozenset[str]]:
        """The device and the credentials of the page's key; ForbiddenError when it is not one that was issued here."""
        key = key_of(dict(request.scope["headers"]), b"")
        caller = await self._keys.caller(key) if key else None
        device = caller.device if caller else None
        if caller is None or device is None or device.user != USER or not device.device_id:
            raise ForbiddenError("the key of the page is not good any more: reload the page")
        return device.device_id, caller.credentials

    async def _execute(self, caller: Caller, method: str, params: Mapping[str, object]) -> Reply:
        return await self._dispatcher.execute(caller, method, msgspec.json.encode(params))


def _notification(said: DemoPush, uid: str, origin: str) -> dict[str, object]:
    return {
        "title": said.title,
        "body": said.body,
        "url": f"{origin.rstrip('/')}{PATH}/",
        "data": {"uid": uid},
        "ttl": _TTL_SECONDS,
        "priority": "high",
    }


def _uid_prefix(device_id: str) -> str:
    return f"demo-{device_id}-"


async def _refused(request: Request, error: Exception) -> Response:
    return _answer(error_object(error if isinstance(error, ApiError) else ApiError()))


async def _away(request: Request, error: Exception) -> Response:
    return _answer(error_object(NotAvailableError("the database is not available; try again")))


async def _moved(request: Request) -> Response:
    return RedirectResponse(f"{PATH}/", headers=_HEADERS)


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BODY_BYTES:
            raise BadRequestError(f"at most {_MOST_BODY_BYTES} bytes are expected")
    return body


def _parsed(body: bytes) -> DemoPush:
    try:
        said = msgspec.json.decode(body, type=DemoPush)
    except msgspec.MsgspecError as error:
        raise BadRequestError(str(error)) from None
    if not said.title.strip():
        raise BadRequestError("a title is expected", path="title")
    return said


def _answer(reply: Reply) -> Response:
    """The reply as the API gives it, an error with HTTP status 200, too."""
    return Response(envelopes.plain(reply), headers=_HEADERS | {"content-type": _JSON})


def _is_near(scope: Scope) -> bool:
    """Whether a request comes from this machine, names it, and shows no sign of a proxy."""
    names = {name for name, _ in scope["headers"]}
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    try:
        named = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return named in _NEAR_NAMES and names.isdisjoint(_OF_PROXIES) and Addresses().comes_from(scope, NEAR)
