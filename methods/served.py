"""Which providers have a credential: what is only built for the others cannot be in a push's way."""

from methods.context import Context
from methods.errors import BadRequestError
from methods.notifications import Payloads
from storage import pushes


async def any_configured(ctx: Context, providers: list[str]) -> bool:
    """Whether one of these providers has a credential."""
    if ctx.gate is not None:
        return await ctx.gate.any_configured(providers)
    return not (await pushes.configured_providers(ctx.database)).isdisjoint(providers)


async def check_sizes(ctx: Context, payloads: Payloads) -> None:
    """BadRequestError when what is built for a provider is too large, and there is a credential to send it with."""
    for each in payloads.oversized:
        if await any_configured(ctx, [each.provider]):
            raise BadRequestError(each.detail, path=each.path)
