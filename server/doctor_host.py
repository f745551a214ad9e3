"""The checks of `tocsin doctor` that need no database: settings, data directory, secret key, port."""

from collections.abc import Iterator, Mapping

import httpx

from delivery.providers.credentials import CredentialError, UnsupportedCredentialError
from delivery.providers.declared import declared_credentials
from server import variables
from server.data_directory import DataDirectory, DataDirectoryError
from server.findings import Finding, fail, ok, warn
from server.ports import PortError, listen
from server.settings import Settings
from server.urls import url_of

_HTTP_SECONDS = 3.0


def examine(settings: Settings, environ: Mapping[str, str], data: DataDirectory) -> Iterator[Finding]:
    """Run them in turn."""
    yield from _settings(environ)
    yield from _data_directory(data)
    yield _secret_key(settings, data)
    yield _port(settings)


def _settings(environ: Mapping[str, str]) -> Iterator[Finding]:
    unknown = variables.unknown(environ)
    for said in unknown:
        yield warn("settings", said, "correct the name or remove it; README.md lists the settings")
    try:
        declared = declared_credentials(environ)
    except (CredentialError, UnsupportedCredentialError) as error:
        yield fail("settings", str(error), "correct this variable, or the file it names")
        return
    if not unknown:
        yield ok("settings", f"understood; they declare {len(declared)} credentials")


def _data_directory(data: DataDirectory) -> Iterator[Finding]:
    if not data.path.exists():
        yield ok("data directory", f"{data.path} will be made at the first start")
        return
    try:
        data.ensure()
    except DataDirectoryError as error:
        yield fail("data directory", str(error), "the server keeps its keys and the embedded database there")
        return
    yield ok("data directory", f"{data.path} can be written")
    for path in data.open_files():
        yield warn("data directory", f"others may read {path}", f"chmod 600 {path}")


def _secret_key(settings: Settings, data: DataDirectory) -> Finding:
    if settings.secret_key:
        return ok("secret key", "given by the settings")
    if data.path.exists() and data.secret_key(create=False):
        said = f"generated, in {data.path}"
        if settings.database_url:
            return warn("secret key", said, "hosts that share the database need the same: set TOCSIN_SECRET_KEY")
        return ok("secret key", said)
    return ok("secret key", "will be generated at the first start")


def _port(settings: Settings) -> Finding:
    where = f"{settings.host} port {settings.port}"
    try:
        listen(settings.host, settings.port).close()
    except PortError as error:
        if _is_ours(settings):
            return ok("port", f"a Tocsin answers on {where}")
        return fail("port", str(error), "or, if that is a Tocsin, see its log: it does not answer")
    return ok("port", f"{where} is free")


def _is_ours(settings: Settings) -> bool:
    try:
        answer = httpx.get(f"{url_of(settings.host, settings.port)}/health", timeout=_HTTP_SECONDS)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.text.startswith('{"status"')
