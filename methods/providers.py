"""Methods for the named credentials of the push services."""

import asyncio

import msgspec

from delivery.providers.apns_credential import ApnsSettings
from delivery.providers.credential_fields import GONE_PERCENT, CertificateFacts, Way, authorities, certificate_facts
from delivery.providers.credentials import CredentialError, CredentialFields, UnsupportedCredentialError, checked
from delivery.providers.fcm_credential import FcmSettings
from delivery.providers.hms_credential import HmsSettings
from delivery.providers.registry import build_provider
from delivery.providers.webhook_credential import WebhookSettings
from delivery.providers.webpush_credential import WebpushSettings
from methods.context import Context
from methods.errors import ApiError, BadRequestError, ConflictError, NotAvailableError, NotFoundError
from methods.method import Empty, NoParams, Params, Result
from storage import credentials
from storage.credentials import CredentialConflictError, CredentialRow, PauseRow

CHECK_SECONDS = 30.0
_Settings = ApnsSettings | FcmSettings | HmsSettings | WebpushSettings | WebhookSettings
_SETTINGS: dict[str, type[_Settings]] = {
    "apns": ApnsSettings,
    "fcm": FcmSettings,
    "webpush": WebpushSettings,
    "hms": HmsSettings,
    "webhook": WebhookSettings,
}


class ProviderPutParams(CredentialFields, Params):
    """A credential whole: what is omitted is cleared."""


class ProviderNameParams(Params):
    """Names a credential.

    provider_id: its name
    """

    provider_id: str


class ProviderItem(Result, kw_only=True):
    """A credential without its secrets. `state` is active, paused or off; parts that are paused are in `pauses`."""

    provider_id: str
    provider: str
    state: str
    is_default: bool = False
    source: str = ""
    environment: str = ""
    pauses: list[PauseRow] = msgspec.field(default_factory=list)
    endpoint: str = ""
    tls_ca: list[CertificateFacts] = msgspec.field(default_factory=list)
    proxy: str = ""
    transport: str = ""
    max_connections: int = 0
    quota_per_minute: int = 0
    ramp_up_seconds: int = 0
    gone_percent: int = 0
    outcome_url: str = ""
    outcome_kinds: list[str] = msgspec.field(default_factory=list)
    bundle_id: str = ""
    key_id: str = ""
    team_id: str = ""
    certificate: CertificateFacts | None = None
    content_available: bool = False
    mutable_content: bool = False
    project_id: str = ""
    client_email: str = ""
    private_key_id: str = ""
    token_uri: str = ""
    include_notification: bool = False
    public_key: str = ""
    subject: str = ""
    app_id: str = ""
    token_url: str = ""
    url: str = ""
    batched: bool = False
    batch_recipients: int = 0
    timeout_seconds: int = 0
    created_at: int = 0
    updated_at: int = 0


class ProviderSwitchParams(Params):
    """What to switch; exactly one of provider_id and app.

    enabled: true: on; false: off
    provider_id: a credential
    app: all credentials of an app: its bundle id, its Firebase project, or its id at HMS
    """

    enabled: bool
    provider_id: str | None = None
    app: str | None = None


class ProviderSwitchResult(Result):
    """What was switched.

    provider_ids: the credentials
    """

    provider_ids: list[str]


class _Told(msgspec.Struct):
    outcome_url: str = ""
    outcome_kinds: list[str] = []


class ProviderListResult(Result):
    """The credentials by provider and name."""

    items: list[ProviderItem]


class CheckStep(Result):
    """One step of a check: verdict `ok` or `failed`, and what was seen."""

    step: str
    verdict: str
    detail: str = ""


class ProviderCheckResult(Result):
    """The verdict on a credential, `ok` or `failed`, and the steps that led to it."""

    verdict: str
    steps: list[CheckStep]


async def provider_put(ctx: Context, params: ProviderPutParams) -> ProviderItem:
    """Create or replace a named credential of a push service.

    Writes the whole credential: what is omitted is cleared. APNs: `key` (the text of the .p8 file), `key_id`, `team_id`
    and `bundle_id`, or `certificate` (PEM of certificate and key, or a p12 file in base64) with `certificate_password`;
    `environment` (`production` or `sandbox`). FCM: `service_account` (the JSON file). Web Push: `private_key` of a
    VAPID pair (`tocsin key vapid` makes one) and `subject` (docs/web-push.md). HMS: `app_id` and `app_secret`
    (docs/hms.md). Webhook: `url` and `secret`, `batched`, `timeout_seconds` (docs/webhook-provider.md). For all but
    webhooks `endpoint`. For all `tls_ca`, `proxy`, `max_connections`, and a quota that all processes share. The first
    credential of a provider is its default one; `default: true` makes this one. Secrets are sealed and never shown.
    Takes effect at once and lifts the credential's pauses; the emulators' stand-in credentials go with the first real
    one. 113 when the settings declare this credential.
    """
    try:
        new = checked(params)
        await credentials.put(ctx.database, ctx.vault, new)
    except (CredentialError, CredentialConflictError) as error:
        raise _as_api_error(error) from None
    ctx.hints.credentials()
    return next(item for item in await _items(ctx) if item.provider_id == new.provider_id)


async def provider_list(ctx: Context, params: NoParams) -> ProviderListResult:
    """List the named credentials, without their secrets.

    Each with its settings, fingerprint and expiry of certificates, and its `state`: `paused` with the reason in
    `pauses` when the push service refuses it, or asks for less. A pause with a `scope` holds a part of it only: an APNs
    topic, or a platform of an FCM project.
    """
    return ProviderListResult(items=await _items(ctx))


async def provider_remove(ctx: Context, params: ProviderNameParams) -> Empty:
    """Remove a named credential.

    When it was its provider's default, the oldest that is left becomes it. 104 when there is none of this name, 113
    when the settings declare it.
    """
    try:
        removed = await credentials.remove(ctx.database, params.provider_id)
    except CredentialConflictError as error:
        raise _as_api_error(error) from None
    if not removed:
        raise NotFoundError("no credential of this name", path="provider_id")
    ctx.hints.credentials()
    return Empty()


async def provider_switch(ctx: Context, params: ProviderSwitchParams) -> ProviderSwitchResult:
    """Switch credentials off, or on again.

    With a credential that is off nothing is sent, on any host, within a second: pushes leave its devices out (skipped,
    reason NoCredential), and what waits for it waits until it is on again, or expires. By its name, or all of an app at
    once. It stays off when it is put again. 104 when nothing has this name.
    """
    if (params.provider_id is None) == (params.app is None):
        raise BadRequestError("exactly one of provider_id and app is expected", path="provider_id")
    switched = await credentials.switch(
        ctx.database, provider_id=params.provider_id, app=params.app, enabled=params.enabled
    )
    if not switched:
        raise NotFoundError("no credential of this name", path="provider_id" if params.app is None else "app")
    ctx.hints.credentials()
    return ProviderSwitchResult(switched)


async def provider_check(ctx: Context, params: ProviderNameParams) -> ProviderCheckResult:
    """Try a credential against its push service without sending anything to anybody.

    The steps: reading the credential, signing or fetching a token, connecting, and a request that the service answers
    only when it accepts the credential (APNs: a device token that does not exist; FCM and HMS: `validate_only`; a
    webhook: `{"check":true}`). Web Push: only signing, and connecting where the credential has an `endpoint`: the push
    services are the browsers' choice.
    """
    stored = await credentials.load(ctx.database, ctx.vault)
    found = next((credential for credential in stored if credential.provider_id == params.provider_id), None)
    if found is None:
        raise NotFoundError("no credential of this name that opens with this server's secret key", path="provider_id")
    try:
        async with asyncio.timeout(CHECK_SECONDS), build_provider(found, allowed=ctx.private_hosts) as provider:
            seen = await provider.check()
    except TimeoutError:
        seen = {"check": f"no end within {CHECK_SECONDS:.0f} seconds"}
    except CredentialError as error:
        seen = {"settings": str(error)}
    steps = [_step(name, text) for name, text in seen.items()]
    good = all(step.verdict == "ok" for step in steps)
    return ProviderCheckResult(verdict="ok" if good else "failed", steps=steps)


async def _items(ctx: Context) -> list[ProviderItem]:
    return [_item(row) for row in await credentials.listed(ctx.database)]


def _state(row: CredentialRow, pauses: list[PauseRow]) -> str:
    if not row.enabled:
        return "off"
    return "paused" if any(not pause.scope for pause in pauses) else "active"


def _item(row: CredentialRow) -> ProviderItem:
    pauses = row.pause_rows()
    item = ProviderItem(
        provider_id=row.provider_id,
        provider=row.provider,
        state=_state(row, pauses),
        is_default=row.is_default,
        source=row.source,
        environment=row.environment,
        pauses=pauses,
        created_at=int(row.created_at),
        updated_at=int(row.updated_at),
    )
    settings: _Settings = msgspec.json.decode(row.settings, type=_SETTINGS[row.provider])
    told = msgspec.json.decode(row.settings, type=_Told)
    item.outcome_url, item.outcome_kinds = told.outcome_url, told.outcome_kinds
    for name in settings.__struct_fields__:
        if name != "way":
            setattr(item, name, getattr(settings, name))
    item.batched = item.batch_recipients > 0
    _show_way(item, settings.way)
    return item


def _show_way(item: ProviderItem, way: Way) -> None:
    item.endpoint, item.proxy, item.transport = way.endpoint, way.proxy, way.transport
    item.max_connections = way.max_connections
    item.quota_per_minute = way.quota_per_minute
    item.ramp_up_seconds = way.ramp_up_seconds if way.quota_per_minute else 0
    item.gone_percent = way.gone_percent if way.gone_percent != GONE_PERCENT else 0
    item.tls_ca = [certificate_facts(certificate) for certificate in authorities(way.tls_ca)]


def _step(name: str, text: str) -> CheckStep:
    verdict, _, detail = text.partition(": ")
    return CheckStep(name, "ok", detail) if verdict == "ok" else CheckStep(name, "failed", text)


def _as_api_error(error: CredentialError | CredentialConflictError) -> ApiError:
    if isinstance(error, UnsupportedCredentialError):
        return NotAvailableError(error.detail, path=error.path)
    if isinstance(error, CredentialError):
        return BadRequestError(error.detail, path=error.path)
    return ConflictError(str(error), path="provider_id")


METHODS = (provider_put, provider_list, provider_remove, provider_check, provider_switch)
