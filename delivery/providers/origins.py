"""Where a credential's requests go: base URL, trust, client certificate and proxy, made ready for a pool."""

import os
import ssl
import tempfile
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from delivery.http2 import Origin, Proxy, tls_context
from delivery.providers.credential_fields import Way


class Service(msgspec.Struct, frozen=True):
    """An origin, what goes into the head of every request to it, and where it is, for an operator to read."""

    origin: Origin
    scheme: bytes
    authority: bytes
    prefix: bytes
    where: str


def service(base_url: str, way: Way, proxy_user: str, certificate: tuple[str, str] | None = None) -> Service:
    """The service at `way.endpoint`, else at `base_url`; `certificate` is PEM text of a chain and of its key.

    Raises ValueError or ssl.SSLError when what was stored cannot be used any more.
    """
    parts = urlsplit(way.endpoint or base_url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    host = parts.hostname or ""
    named = f"[{host}]" if ":" in host else host
    authority = named if parts.port is None else f"{named}:{port}"
    tls = _tls(way.tls_ca, certificate) if secure else None
    origin = Origin(host, port, tls, proxy=_proxy(way.proxy, proxy_user))
    prefix = parts.path.rstrip("/").encode()
    return Service(
        origin, parts.scheme.encode(), authority.encode(), prefix, where(way.endpoint or base_url, way.proxy)
    )


def where(url: str, proxy: str = "") -> str:
    """Host and port of a URL, and of the proxy on the way there; never a user or password."""
    there = _host_and_port(url)
    return f"{there} through proxy {_host_and_port(proxy)}" if proxy else there


def _host_and_port(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    named = f"[{host}]" if ":" in host else host
    return f"{named}:{parts.port or (80 if parts.scheme == 'http' else 443)}"


def proxy_url(way: Way, proxy_user: str) -> str:
    """The proxy's whole URL for a client that wants one, '' without a proxy."""
    if not way.proxy or not proxy_user:
        return way.proxy
    user, _, password = proxy_user.partition(":")
    return way.proxy.replace("://", f"://{quote(user, safe='')}:{quote(password, safe='')}@", 1)


def _proxy(url: str, user: str) -> Proxy | None:
    parts = urlsplit(url)
    return Proxy(parts.hostname or "", parts.port or 3128, user or None) if url else None


def _tls(tls_ca: str, certificate: tuple[str, str] | None) -> ssl.SSLContext:
    context = tls_context(cadata=tls_ca or None)
    if certificate is not None:
        _load_certificate(context, *certificate)
    return context


def _load_certificate(context: ssl.SSLContext, chain: str, key: str) -> None:
    """Give the context its certificate. Python reads it from files only, so the key lies there encrypted, briefly."""
    password = os.urandom(32).hex()
    sealed = load_pem_private_key(key.encode(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode())
    )
    with tempfile.TemporaryDirectory(prefix="tocsin-") as folder:
        chain_file, key_file = Path(folder) / "chain.pem", Path(folder) / "key.pem"
        chain_file.write_text(chain)
        key_file.write_bytes(sealed)
        context.load_cert_chain(chain_file, key_file, password)
