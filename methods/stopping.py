"""Stopping a push: for good, or until it is resumed."""

from typing import Annotated

from msgspec import Meta

from methods.context import Context
from methods.errors import NotFoundError
from methods.method import Empty, Params
from storage import pushes

Uid = Annotated[str, Meta(min_length=1, max_length=255)]


class PushUidParams(Params):
    """Which push.

    uid: the push's uid
    """

    uid: Uid


async def cancel_push(ctx: Context, params: PushUidParams) -> Empty:
    """Cancel a push.

    A scheduled push is never sent. One that is being sent stops: what was sent stays sent, the rest is counted as
    cancelled. A finished or cancelled push is left as it is. Unknown: 104.
    """
    push_id = await pushes.cancel(ctx.database, params.uid)
    if push_id is None:
        raise NotFoundError("there is no push with this uid", path="uid")
    ctx.hints.stopped(push_id)
    return Empty()


async def push_pause(ctx: Context, params: PushUidParams) -> Empty:
    """Stop a push until push_resume.

    Nothing more of it is planned or sent, on any host, within a second; what was sent stays sent. Its time goes on:
    what is not sent before expire_at expires. A finished, cancelled or paused push is left as it is. Unknown: 104.
    """
    push_id = await pushes.pause(ctx.database, params.uid)
    if push_id is None:
        raise NotFoundError("there is no push with this uid", path="uid")
    ctx.hints.stopped(push_id)
    return Empty()


async def push_resume(ctx: Context, params: PushUidParams) -> Empty:
    """Let a paused push go on from where it was.

    A push that is not paused is left as it is. Unknown: 104.
    """
    if await pushes.resume(ctx.database, params.uid) is None:
        raise NotFoundError("there is no push with this uid", path="uid")
    ctx.hints.work()
    return Empty()


METHODS = (cancel_push, push_pause, push_resume)
