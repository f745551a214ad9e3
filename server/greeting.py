"""What `tocsin serve` prints when it is ready: where it is, how to call it, and what is only shown once."""

from collections.abc import Mapping

from server import VERSION
from server.data_directory import DataDirectory
from server.demo_start import PATH
from server.settings import Settings
from server.urls import url_of

_INFO = '{"method":"info"}'
_FIRST_PUSH = (
    '{"method":"send_push_notification","params":{"recipient":{"fcm_tokens":["any-token"]},'
    '"notification":{"fcm":{"notification":{"title":"Hello","body":"How are you?"}}}}}'
)


def ready(
    settings: Settings, port: int, new_key: str, data: DataDirectory, emulated: Mapping[str, str], *, demo: bool = False
) -> str:
    """The text; `new_key` is the API key that was made by this start, `emulated` the control ports by provider."""
    url = url_of(settings.host, port)
    lines = [f"Tocsin {VERSION} is ready on {url}", ""]
    if new_key:
        lines += [f"  API key, shown this once and kept in {data.api_key_file}:", f"    {new_key}", ""]
    if emulated:
        ports = ", ".join(f"{provider} {control}" for provider, control in sorted(emulated.items()))
        lines += [
            "  EMULATED PROVIDERS: no push reaches a real device until a credential is set (provider_put).",
            f"  Their control ports: {ports}",
            "",
        ]
    if demo:
        lines += [
            "  WEB PUSH DEMO, for a browser on this machine, never for production. Its pushes are real, and go",
            f"  through the browser's own push service: {url}{PATH}/",
            "",
        ]
    call = f"curl {url}/api -H {_header(settings, data)} -d"
    if control := emulated.get("fcm"):
        lines += ["  Try it: send a push, and see what the emulated FCM received:"]
        lines += [f"    {call} '{_FIRST_PUSH}'", f"    curl '{control}/requests?limit=1'"]
    else:
        lines += ["  Try it:", f"    {call} '{_INFO}'"]
    return "\n".join([*lines, ""]) + "\n"


def _header(settings: Settings, data: DataDirectory) -> str:
    """Words of a shell that give the header with the key, not the key."""
    if settings.api_key:
        return '"X-API-Key: $TOCSIN_API_KEY"'
    return f'"X-API-Key: $(cat {data.api_key_file})"' if data.api_key() else "'X-API-Key: YOUR-API-KEY'"
