"""Dead letters of outcome webhooks: seeing them, and sending them again."""

from typing import Annotated

from msgspec import Meta

from methods.context import Context
from methods.errors import BadRequestError
from methods.filters import page_limit
from methods.method import Params, Result
from storage import webhooks
from storage.ids import as_id, known_form

Url = Annotated[str, Meta(min_length=1, max_length=2048)]
Ids = Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(min_length=1, max_length=10_000)]


class WebhookFailuresParams(Params):
    """Which dead letters.

    url: only those of this webhook, letter for letter
    cursor: next_cursor of the page before
    limit: items on a page, 100 unless told, 1000 at most
    """

    url: Url | None = None
    cursor: str | None = None
    limit: int | None = None


class WebhookFailure(Result):
    """A batch of events that its webhook did not take. Times are Unix seconds.

    id: the delivery's id, as the webhook saw it in X-Tocsin-Delivery
    url: where it was to go
    events: how many events it holds
    attempts: how often it was tried
    created_at: when it was written
    failed_at: when it was given up
    provider_id: the credential whose webhook it is; absent for a push's own
    last_status: the HTTP status of the last try; absent without an answer
    last_error: Refused, Gone (410), Timeout, AddressNotAllowed, or what went wrong with the connection
    """

    id: str
    url: str
    events: int
    attempts: int
    created_at: int
    failed_at: int
    provider_id: str = ""
    last_status: int = 0
    last_error: str = ""


class WebhookFailuresResult(Result):
    """A page of dead letters, oldest first.

    items: the dead letters
    next_cursor: give it to get the next page; absent on the last
    has_more: whether there is a next page
    """

    items: list[WebhookFailure]
    next_cursor: str = ""
    has_more: bool = False


class WebhookRetryParams(Params):
    """Which dead letters are sent again: exactly one of both.

    ids: these; what is no dead letter is passed over
    url: all of this webhook
    """

    ids: Ids | None = None
    url: Url | None = None


class WebhookRetryResult(Result):
    """What is on its way again.

    retried: how many dead letters
    """

    retried: int = 0


async def webhook_failures(ctx: Context, params: WebhookFailuresParams) -> WebhookFailuresResult:
    """List batches of events that a webhook did not take.

    A batch is tried for 24 hours, or until the webhook answers 410; then it is kept here for as long as outcomes are.
    """
    limit = page_limit(params.limit)
    after = as_id(params.cursor) if params.cursor else None
    if params.cursor and after is None:
        raise BadRequestError("the cursor is not one of ours", path="cursor")
    rows = await webhooks.failures(ctx.database, params.url, after, limit + 1)
    items = [
        WebhookFailure(
            id=row.id,
            url=row.url,
            events=row.events,
            attempts=row.attempts,
            created_at=row.created_at,
            failed_at=row.failed_at,
            provider_id=row.credential,
            last_status=row.last_status,
            last_error=row.last_error,
        )
        for row in rows[:limit]
    ]
    more = len(rows) > limit
    return WebhookFailuresResult(items, items[-1].id if more else "", more)


async def webhook_retry(ctx: Context, params: WebhookRetryParams) -> WebhookRetryResult:
    """Send batches again that a webhook did not take.

    They are tried for another 24 hours, with the events and the delivery's id as before.
    """
    if (params.ids is None) == (params.url is None):
        raise BadRequestError("either ids or a url is expected", path="ids")
    ids = None if params.ids is None else known_form(params.ids)
    return WebhookRetryResult(await webhooks.retry(ctx.database, ids, params.url))


METHODS = (webhook_failures, webhook_retry)
