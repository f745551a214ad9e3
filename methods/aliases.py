"""What a device's provider and platform may be called: our names, and those of systems that a caller may come from.

A name may say more than ours: that the token is of APNs' sandbox, or that it is a VoIP token. Results answer with our
names only. A chat network's names are providers (`apns_internal_voip`), a chat SDK's are platforms (`FCM_IOS`).
"""

from typing import Literal, NamedTuple

ProviderName = Literal["fcm", "apns", "hms", "webpush", "webhook"]
Provider = Literal[ProviderName, "gcm", "apns_internal", "apns_voip", "apns_internal_voip"]
PlatformName = Literal["ios", "android", "web"]
Platform = Literal[PlatformName, "apns"]  # `apns` is how the 2023 draft says ios
RegisteredPlatform = Literal[
    Platform,
    "FCM_ANDROID",
    "FCM_IOS",
    "FCM_WEB",
    "FCM_FLUTTER_ANDROID",
    "FCM_FLUTTER_IOS",
    "FCM_REACT_NATIVE_ANDROID",
    "FCM_REACT_NATIVE_IOS",
    "FCM_IONIC_CORDOVA_ANDROID",
    "FCM_IONIC_CORDOVA_IOS",
    "APNS_IOS_DEVICE",
    "APNS_IOS_VOIP",
    "APNS_FLUTTER_DEVICE",
    "APNS_FLUTTER_VOIP",
    "APNS_REACT_NATIVE_DEVICE",
    "APNS_REACT_NATIVE_VOIP",
    "APNS_IONIC_CORDOVA_DEVICE",
    "APNS_IONIC_CORDOVA_VOIP",
]


class NamedProvider(NamedTuple):
    """What the name of a provider says. `platform` is taken where none is given; None: there must be one."""

    provider: ProviderName
    platform: PlatformName | None = None
    environment: str = ""
    is_voip: bool = False

    @property
    def says_more(self) -> bool:
        """Whether it stands for a part of the provider's devices only."""
        return bool(self.environment) or self.is_voip


class NamedPlatform(NamedTuple):
    """What the name of a platform says; `provider` None: nothing of it."""

    platform: PlatformName
    provider: ProviderName | None = None
    is_voip: bool = False


PROVIDERS: dict[Provider, NamedProvider] = {
    "fcm": NamedProvider("fcm"),
    "apns": NamedProvider("apns", "ios"),
    "hms": NamedProvider("hms"),
    "webpush": NamedProvider("webpush"),
    "webhook": NamedProvider("webhook"),
    "gcm": NamedProvider("fcm", "android"),
    "apns_internal": NamedProvider("apns", "ios", environment="sandbox"),
    "apns_voip": NamedProvider("apns", "ios", is_voip=True),
    "apns_internal_voip": NamedProvider("apns", "ios", environment="sandbox", is_voip=True),
}

PLATFORMS: dict[RegisteredPlatform, NamedPlatform] = {
    "ios": NamedPlatform("ios"),
    "android": NamedPlatform("android"),
    "web": NamedPlatform("web"),
    "apns": NamedPlatform("ios"),
    "FCM_ANDROID": NamedPlatform("android", "fcm"),
    "FCM_IOS": NamedPlatform("ios", "fcm"),
    "FCM_WEB": NamedPlatform("web", "fcm"),
    "FCM_FLUTTER_ANDROID": NamedPlatform("android", "fcm"),
    "FCM_FLUTTER_IOS": NamedPlatform("ios", "fcm"),
    "FCM_REACT_NATIVE_ANDROID": NamedPlatform("android", "fcm"),
    "FCM_REACT_NATIVE_IOS": NamedPlatform("ios", "fcm"),
    "FCM_IONIC_CORDOVA_ANDROID": NamedPlatform("android", "fcm"),
    "FCM_IONIC_CORDOVA_IOS": NamedPlatform("ios", "fcm"),
    "APNS_IOS_DEVICE": NamedPlatform("ios", "apns"),
    "APNS_IOS_VOIP": NamedPlatform("ios", "apns", is_voip=True),
    "APNS_FLUTTER_DEVICE": NamedPlatform("ios", "apns"),
    "APNS_FLUTTER_VOIP": NamedPlatform("ios", "apns", is_voip=True),
    "APNS_REACT_NATIVE_DEVICE": NamedPlatform("ios", "apns"),
    "APNS_REACT_NATIVE_VOIP": NamedPlatform("ios", "apns", is_voip=True),
    "APNS_IONIC_CORDOVA_DEVICE": NamedPlatform("ios", "apns"),
    "APNS_IONIC_CORDOVA_VOIP": NamedPlatform("ios", "apns", is_voip=True),
}


def provider_names(providers: list[Provider] | None) -> list[str] | None:
    """Return what the function provider_is of the database takes; None where all are meant.

    A name that only is another word for a provider becomes that one; one that says more stays as it is.
    """
    if not providers:
        return None
    return [name if PROVIDERS[name].says_more else PROVIDERS[name].provider for name in providers]


def platform_name(platform: Platform) -> str:
    """Return the platform's name in storage."""
    return PLATFORMS[platform].platform


def platform_names(platforms: list[Platform] | None) -> list[str] | None:
    """Return the names in storage of a list of platforms, None where all are meant."""
    return [platform_name(platform) for platform in platforms] if platforms else None
