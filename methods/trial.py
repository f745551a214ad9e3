"""A dry run: who a push would reach, what each provider would be given first, and what is wrong with it."""

import asyncio
import time
from dataclasses import dataclass, field

import msgspec

from delivery.contents import Content, PushRequest
from delivery.providers.contract import Defaults, PayloadError
from delivery.providers.payloads import check
from delivery.rendering.templates import RenderError, Template, Values
from delivery.windows import opens_at
from methods.context import Context
from methods.method import Result
from methods.notifications import Payloads
from methods.recipients import Resolved
from storage import credentials, trial
from storage.pushes import NewPush

_SECONDS = 20.0
_PAGE = 50_000
_SKIPPED = {
    "NoPayload": "the notification says nothing to this provider",
    "NoToken": "these devices have no token for this kind of push: calls go to the token for calls",
    "SwitchedOff": "the credential of these devices is switched off; see provider_switch",
    "NoCredential": "no credential serves these devices; see provider_put and the devices' provider_id",
}


class AudiencePart(Result):
    """Recipients of one kind.

    provider: the provider
    platform: the platform of the devices, absent for raw recipients
    recipients: how many
    skipped: why they would get nothing: NoPayload or NoCredential
    """

    provider: str
    platform: str = ""
    recipients: int = 0
    skipped: str = ""


class FirstMessage(Result):
    """What the first recipient of a provider would be sent.

    provider: the provider
    device_id: the recipient, absent for raw ones
    notification: the provider's object, rendered
    """

    provider: str
    notification: msgspec.Raw
    device_id: str = ""


class Problem(Result):
    """Something that would keep recipients from getting the push.

    detail: what it is
    provider: the provider it is about
    provider_id: the credential it is about
    path: the field it is about
    recipients: how many it is about, where that is known
    """

    detail: str
    provider: str = ""
    provider_id: str = ""
    path: str = ""
    recipients: int = 0


@dataclass(slots=True)
class Trial:
    """What a dry run found; `at` is when the push would be sent (Unix seconds)."""

    at: float
    audience: list[AudiencePart] = field(default_factory=list)
    messages: list[FirstMessage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


async def try_out(ctx: Context, resolved: Resolved, payloads: Payloads, push: NewPush, send_at: int | None) -> Trial:
    """Count the audience and render for the first recipient of each provider, as sending would."""
    found = Trial(max(send_at or 0.0, time.time()))
    content = Content(msgspec.json.decode(push.content or ctx.body, type=PushRequest), push.uid)
    stored = {row.provider_id: row for row in await credentials.listed(ctx.database)}
    groups = await _groups(ctx, resolved, push, found)
    for group in groups:
        part = AudiencePart(group.provider, group.platform, group.devices, group.skipped)
        found.audience.append(part)
        if group.skipped:
            found.problems.append(Problem(_SKIPPED[group.skipped], group.provider, recipients=group.devices))
    for provider in sorted({group.provider for group in groups if not group.skipped}):
        group = next(each for each in groups if each.provider == provider and not each.skipped)
        credential = stored.get(group.credential)
        await _render(ctx, found, content, push, group, _defaults(credential), resolved.target)
        if credential is not None and (pauses := credential.pause_rows()):
            detail = f"sending is paused: {pauses[0].reason}"
            found.problems.append(Problem(detail, provider, credential.provider_id))
    if not groups:
        found.problems.append(Problem("nobody would get it", path="recipient"))
    return found


async def _groups(ctx: Context, resolved: Resolved, push: NewPush, found: Trial) -> list[trial.Group]:
    """The audience by provider, platform and what would keep it from sending."""
    if resolved.provider:
        name = resolved.provider_id or await trial.default_credential(ctx.database, resolved.provider)
        return [trial.Group(resolved.provider, "", "", len(resolved.tokens), "", name)]
    parameters = resolved.audience.parameters(found.at) | {
        "providers": push.providers,
        "needs": [],
        "send_at": found.at,
        "page": _PAGE,
    }
    try:
        async with asyncio.timeout(_SECONDS):
            return await trial.count(ctx.database, resolved.audience.kind, parameters)
    except TimeoutError:
        detail = f"counting the audience takes longer than {_SECONDS:.0f} seconds; it was given up"
        found.problems.append(Problem(detail, path="recipient"))
        return []


async def _render(
    ctx: Context, found: Trial, content: Content, push: NewPush, group: trial.Group, defaults: Defaults, target: str
) -> None:
    device = await trial.device(ctx.database, group.device_id) if group.device_id else None
    path = f"notification.{group.provider}"
    try:
        template = content.template(group.provider, defaults, push.expire_at)
        if template is None:
            return
        member = template.render(_values(content, device))
        found.messages.append(FirstMessage(group.provider, msgspec.Raw(member), group.device_id))
        check(group.provider, member, target)
        _look_for_names(found, content, template, path)
    except RenderError as error:
        found.problems.append(Problem(f"{error.reason}: {error.detail}", group.provider, path=path))
    except PayloadError as error:
        found.problems.append(Problem(error.detail, group.provider, path=error.path))
    _look_at_window(found, content, group, device)


def _values(content: Content, device: trial.Device | None) -> Values:
    if device is None:
        return content.values("")
    return content.values(
        device.locale, device.id, device.user, device.meta, "receipt-token-of-a-dry-run", account=device.user
    )


def _look_for_names(found: Trial, content: Content, template: Template, path: str) -> None:
    for name in sorted(template.l10n_names - content.translated):
        found.problems.append(Problem(f"no localization says what l10n.{name[:40]} is", path=path))


def _look_at_window(found: Trial, content: Content, group: trial.Group, device: trial.Device | None) -> None:
    limits = content.limits
    if limits is None or limits.window is None:
        return
    opens = opens_at(limits.window, device.timezone if device is not None else "", found.at)
    path = "limit_strategy.time_limit"
    if opens is None and not limits.no_zone_sends_now:
        found.problems.append(
            Problem("the first recipient has no time zone, and would be dropped", group.provider, path=path)
        )
    elif opens is not None and opens > found.at:
        detail = f"the first recipient's window opens {opens - found.at:.0f} seconds after the push is due"
        found.problems.append(Problem(detail, group.provider, path=path))


def _defaults(credential: credentials.CredentialRow | None) -> Defaults:
    """What the credential says about built payloads; its settings use the same names."""
    return Defaults() if credential is None else msgspec.json.decode(credential.settings, type=Defaults)
