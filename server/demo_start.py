"""What `tocsin serve --demo` sees to before its processes start: where it listens, and what the page sends with."""

from ipaddress import ip_network

from delivery.providers.credentials import parse_credential
from delivery.providers.webpush_vapid import generate_pair
from methods.networks import holds, read_address
from server.data_directory import DataDirectory
from server.settings import Settings, SettingsError
from storage import credentials
from storage.database import Database
from storage.vault import Vault

PATH = "/demo"
PROVIDER_ID = "demo-webpush"
NEAR = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
"""The addresses of this machine, as only this machine has them."""

_SUBJECT = "mailto:demo@example.com"  # a form that Apple takes; nobody reads it


def check_host(host: str) -> None:
    """See that a browser on this machine can reach a server that listens there; SettingsError."""
    try:
        near = host == "localhost" or (found := read_address(host)).is_unspecified or holds(NEAR, found)
    except ValueError:
        near = False
    if not near:
        raise SettingsError("TOCSIN_HOST: the demo is for this machine; leave it out, or start without --demo")


async def put_credential(database: Database, settings: Settings, data: DataDirectory) -> None:
    """Write a credential for the Web Push demonstration when there is no real one, with a key that the data keeps.

    SettingsError when its name is taken.
    """
    if any(row.provider == "webpush" and row.source != "emulator" for row in await credentials.listed(database)):
        return
    private_key = data.demo_key()
    if not private_key:
        _, private_key = generate_pair()
        data.save_demo_key(private_key)
    params = {
        "provider_id": PROVIDER_ID,
        "provider": "webpush",
        "private_key": private_key,
        "subject": _SUBJECT,
    }
    try:
        await credentials.put_stand_in(database, Vault(settings.secret_key.encode()), parse_credential(params))
    except credentials.CredentialConflictError:
        raise SettingsError(
            f"serve --demo: the credential {PROVIDER_ID} is of another provider: remove it with "
            "provider_remove, or set one for Web Push"
        ) from None
