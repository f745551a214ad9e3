"""What devices report of a push: that it arrived, and that its user acted on it."""

from typing import Annotated, Literal

from msgspec import Meta

from delivery.receipts import RECEIPTS, ReceiptError, Receipts
from methods.context import Context
from methods.errors import BadRequestError
from methods.method import Empty, Params
from storage import pushes


class UpdatePushStatusParams(Params):
    """What a device reports.

    status: delivered or interacted
    analytics_uid: the analytics_uid of the push (its uid when none was given)
    receipt_token: instead of analytics_uid and device_id: what `{{ receipt_token }}` was in the push
    device_id: the device that reports
    msg_id: the provider's id of the message
    """

    status: Literal["delivered", "interacted"]
    analytics_uid: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    receipt_token: Annotated[str, Meta(min_length=1, max_length=2048)] | None = None
    device_id: Annotated[str, Meta(max_length=255)] | None = None
    msg_id: Annotated[str, Meta(max_length=255)] | None = None


async def update_push_status(ctx: Context, params: UpdatePushStatusParams) -> Empty:
    """Report that a device got a push, or that its user acted on it.

    Counted once for each device and message in push_status; a repeated report changes nothing. With a receipt token an
    app reports by itself, without an API key: `POST /receipts` with the same parameters.
    """
    analytics_uid, device_id = _reported(ctx, params)
    await pushes.record_receipt(ctx.database, analytics_uid, params.status, device_id, params.msg_id or "")
    return Empty()


def _reported(ctx: Context, params: UpdatePushStatusParams) -> tuple[str, str]:
    """The push and the device of a report."""
    if params.receipt_token is None:
        if ctx.caller.reports:
            raise BadRequestError("a receipt token is expected", path="receipt_token")
        if params.analytics_uid is None:
            raise BadRequestError("analytics_uid or receipt_token is expected", path="analytics_uid")
        return params.analytics_uid, params.device_id or ""
    if params.analytics_uid is not None or params.device_id is not None:
        raise BadRequestError("the token says which push and which device", path="receipt_token")
    try:
        return Receipts(ctx.vault.derived(RECEIPTS)).read(params.receipt_token)
    except ReceiptError as error:
        raise BadRequestError(f"not a receipt token of this server: {error}", path="receipt_token") from None


METHODS = (update_push_status,)
