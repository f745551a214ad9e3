"""Where a device is reached: its provider, platform and token, in whatever words a registration says them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from methods.aliases import PLATFORMS, PROVIDERS, NamedPlatform, NamedProvider, Provider, RegisteredPlatform
from methods.errors import BadRequestError
from methods.filters import ProviderId, Token
from methods.method import Params
from methods.tokens import check_hex, check_token, is_subscription


class AddressParams(Params, kw_only=True):
    """Where a device is reached.

    token: its token; for Web Push the browser's PushSubscription as a JSON string
    platform: ios, android or web, or the name that a chat SDK has for platform and provider; may be left out with
        a provider that implies it, as `gcm` and `apns_voip`
    provider: fcm, apns, hms, webpush or webhook, or the name that a chat network has for provider, environment and kind
        of token; without it: what the platform says, apns for the platform `apns`, webpush for a subscription on the
        platform web, fcm otherwise
    provider_id: the named credential to reach it with, when it is not the provider's default one
    environment: APNs: production or sandbox; without it the credential decides
    voip_token: APNs: its token for VoIP pushes, beside `token`
    token_kind: `fid` when the token is a Firebase installation id, `voip` when it is a VoIP token of APNs
    """

    token: Token
    platform: RegisteredPlatform | None = None
    provider: Provider | None = None
    provider_id: ProviderId | None = None
    environment: Literal["production", "sandbox"] | None = None
    voip_token: Token | None = None
    token_kind: Literal["token", "fid", "voip"] | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a device is reached, as it is stored: one with a VoIP token alone has it as its token too."""

    provider: str
    platform: str
    environment: str
    token_kind: str
    token: str = field(repr=False)
    voip_token: str = field(repr=False)
    webpush_keys: dict[str, str] | None = field(repr=False)


def address_of(params: AddressParams, webpush_origins: Sequence[str]) -> Address:
    """Return what is stored of the address; BadRequestError for what is malformed or contradicts itself.

    A Web Push subscription must be at one of `webpush_origins`.
    """
    platform = PLATFORMS[params.platform] if params.platform else None
    named = _provider(params, platform)
    kind = _kind(params, named, platform)
    checked = check_token(named.provider, params.token, webpush_origins)
    return Address(
        provider=named.provider,
        platform=_platform(named, platform),
        environment=_environment(params, named),
        token_kind=kind,
        token=checked.token,
        voip_token=_voip_token(params, named, checked.token if kind == "voip" else ""),
        webpush_keys=checked.webpush_keys,
    )


def _provider(params: AddressParams, platform: NamedPlatform | None) -> NamedProvider:
    implied = platform.provider if platform else None
    if params.provider is None:
        return PROVIDERS[implied or _drafts_provider(params)]
    named = PROVIDERS[params.provider]
    if implied and implied != named.provider:
        raise BadRequestError(f"this platform is reached by {implied}, not by {named.provider}", path="platform")
    return named


def _drafts_provider(params: AddressParams) -> Provider:
    """Return the provider that the 2023 draft means, which had no such parameter."""
    if params.platform == "apns":
        return "apns"
    return "webpush" if params.platform == "web" and is_subscription(params.token) else "fcm"


def _platform(named: NamedProvider, platform: NamedPlatform | None) -> str:
    if platform:
        return platform.platform
    if named.platform is None:
        raise BadRequestError("platform is required", path="platform")
    return named.platform


def _environment(params: AddressParams, named: NamedProvider) -> str:
    if params.environment and named.environment and params.environment != named.environment:
        raise BadRequestError(f"the provider is named for {named.environment}", path="environment")
    return params.environment or named.environment


def _kind(params: AddressParams, named: NamedProvider, platform: NamedPlatform | None) -> str:
    if params.token_kind == "fid" and named.provider != "fcm":
        raise BadRequestError("only FCM has installation ids", path="token_kind")
    if params.token_kind == "voip" and named.provider != "apns":
        raise BadRequestError("only APNs has VoIP tokens", path="token_kind")
    if named.is_voip or (platform and platform.is_voip):
        return "voip"
    return params.token_kind or "token"


def _voip_token(params: AddressParams, named: NamedProvider, token: str) -> str:
    """Return the VoIP token: the token itself where it is one, given as `token`, else the one beside it."""
    if not params.voip_token:
        return token
    if named.provider != "apns":
        raise BadRequestError("only APNs has VoIP tokens", path="voip_token")
    voip_token = check_hex(params.voip_token, "voip_token")
    if token and voip_token != token:
        raise BadRequestError("the token is a VoIP token already", path="voip_token")
    if not token and voip_token == params.token.lower():
        raise BadRequestError("this is the normal token: they are never the same", path="voip_token")
    return voip_token
