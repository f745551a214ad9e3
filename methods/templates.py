"""Named payload templates: what many pushes say alike is kept here, and each push gives its variables."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from delivery.contents import Translations
from delivery.rendering.merge import merge, opened
from delivery.rendering.templates import Scalar
from methods.context import Context
from methods.errors import BadRequestError, NotFoundError
from methods.filters import Name, page_limit
from methods.method import Empty, Params, Result
from methods.notifications import Notification, payloads_of
from methods.served import check_sizes
from storage import templates
from storage.templates import TemplateRow

_LONGEST = 64 * 1024
_NOTIFICATION = msgspec.json.Decoder(Notification)


class TemplatePutParams(Params):
    """A template, whole.

    name: its name
    notification: what pushes with this template say, as `notification` of send_push_notification; `{{ vars.name }}` is
      what the push gives as `vars`
    localizations: what `l10n.name` says, by locale; a push may give others beside
    """

    name: Name
    notification: msgspec.Raw
    localizations: Annotated[dict[str, Translations], Meta(max_length=1000)] | None = None


class TemplateNameParams(Params):
    """Names a template.

    name: its name
    """

    name: Name


class TemplateListParams(Params):
    """Which templates.

    cursor: next_cursor of the page before
    limit: items on a page, 100 unless told, 1000 at most
    """

    cursor: str | None = None
    limit: int | None = None


class TemplateItem(Result):
    """A template. Times are Unix seconds.

    name: its name
    notification: what pushes with it say
    localizations: what `l10n.name` says, by locale
    created_at: when it was put first
    updated_at: when it was put last
    """

    name: str
    notification: msgspec.Raw
    localizations: dict[str, Translations] = msgspec.field(default_factory=dict)
    created_at: int = 0
    updated_at: int = 0


class TemplateListResult(Result):
    """A page of templates by name.

    items: the templates
    next_cursor: give it to get the next page; absent on the last
    has_more: whether there is a next page
    """

    items: list[TemplateItem]
    next_cursor: str = ""
    has_more: bool = False


class _Use(msgspec.Struct):
    name: str
    vars: dict[str, Scalar] | None = None


async def template_put(ctx: Context, params: TemplatePutParams) -> TemplateItem:
    """Create or replace a named payload template.

    A push uses it with `notification.template`: its name, or `{"name", "vars"}`. What the push says beside is laid over
    it (JSON merge patch). Templates in its strings are checked now; a push that was accepted keeps what it was accepted
    with. 107 says where a template is wrong.
    """
    body = bytes(params.notification)
    localizations = msgspec.json.encode(params.localizations or {})
    if len(body) + len(localizations) > _LONGEST:
        raise BadRequestError(f"{_LONGEST} bytes at most", path="notification")
    await _check(ctx, body, localizations)
    await templates.put(ctx.database, params.name, body.decode(), localizations.decode())
    row = await templates.find(ctx.database, params.name)
    if row is None:
        raise NotFoundError("it was removed at the same moment", path="name")
    return _item(row)


async def template_list(ctx: Context, params: TemplateListParams) -> TemplateListResult:
    """List the named payload templates, by name."""
    limit = page_limit(params.limit)
    rows = await templates.page(ctx.database, params.cursor or "", limit + 1)
    more = len(rows) > limit
    rows = rows[:limit]
    return TemplateListResult([_item(row) for row in rows], rows[-1].name if more else "", more)


async def template_remove(ctx: Context, params: TemplateNameParams) -> Empty:
    """Remove a named payload template.

    Pushes that were accepted with it are sent as they were accepted. 104 when there is none of this name.
    """
    if not await templates.remove(ctx.database, params.name):
        raise NotFoundError("there is no template of this name", path="name")
    return Empty()


async def expanded(ctx: Context, body: bytes) -> bytes:
    """The request with its named template put in place; NotFoundError when there is none of this name."""
    request: dict[str, Any] = opened(body)
    request.pop("webhook", None)  # kept apart, because it may hold a secret
    notification = dict(request["notification"])
    use = _use(msgspec.json.encode(notification.pop("template")))
    row = await templates.find(ctx.database, use.name)
    if row is None:
        raise NotFoundError("there is no template of this name; see template_list", path="notification.template")
    request["notification"] = merge(opened(row.notification.encode()), notification)
    localizations = merge(opened(row.localizations.encode()), request.get("localizations") or {})
    if localizations:
        request["localizations"] = localizations
    return msgspec.json.encode(request | {"use_templating": True, "vars": use.vars or {}})


def _use(raw: bytes) -> _Use:
    path = "notification.template"
    try:
        use = msgspec.json.decode(raw, type=str | _Use)
    except msgspec.ValidationError:
        raise BadRequestError('a name, or {"name", "vars": {name: text or number}}, is expected', path=path) from None
    return _Use(use) if isinstance(use, str) else use


async def _check(ctx: Context, body: bytes, localizations: bytes) -> None:
    """Check a template as a push that uses it would be, with every variable allowed."""
    try:
        notification = _NOTIFICATION.decode(body)
    except msgspec.ValidationError as error:
        raise BadRequestError(str(error), path="notification") from None
    if bytes(notification.template) != b"null":
        raise BadRequestError("a template cannot use another one", path="notification.template")
    request = b'{"notification":%b,"localizations":%b,"use_templating":true,"vars":{}}' % (body, localizations)
    await check_sizes(ctx, payloads_of(notification, request, "token", made=True, use_meta=True))


def _item(row: TemplateRow) -> TemplateItem:
    localizations = msgspec.json.decode(row.localizations, type=dict[str, Translations])
    notification = msgspec.Raw(row.notification.encode())
    return TemplateItem(row.name, notification, localizations, row.created_at, row.updated_at)


METHODS = (template_put, template_list, template_remove)
