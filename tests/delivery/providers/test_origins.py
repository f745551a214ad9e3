"""Where requests go: endpoints, prefixes and proxies as operators write them."""

import pytest

from delivery.providers.credential_fields import Way
from delivery.providers.origins import proxy_url, service

HOST = "https://api.push.apple.com"


@pytest.mark.parametrize(
    ("endpoint", "host", "port", "authority", "prefix"),
    [
        ("", "api.push.apple.com", 443, b"api.push.apple.com", b""),
        ("https://gateway", "gateway", 443, b"gateway", b""),
        ("https://gateway:8443/apns", "gateway", 8443, b"gateway:8443", b"/apns"),
        ("https://[::1]:8443", "::1", 8443, b"[::1]:8443", b""),
    ],
)
def test_an_endpoint_takes_the_place_of_the_providers_host(
    endpoint: str, host: str, port: int, authority: bytes, prefix: bytes
) -> None:
    found = service(HOST, Way(endpoint=endpoint), "")
    assert (found.origin.host, found.origin.port) == (host, port)
    assert (found.authority, found.prefix, found.scheme) == (authority, prefix, b"https")
    assert found.origin.tls is not None


def test_an_endpoint_without_tls_is_reached_without_it() -> None:
    found = service(HOST, Way(endpoint="http://sink"), "")
    assert (found.origin.port, found.origin.tls, found.scheme) == (80, None, b"http")


@pytest.mark.parametrize(
    ("way", "place"),
    [
        (Way(), "api.push.apple.com:443"),
        (Way(endpoint="http://sink"), "sink:80"),
        (Way(endpoint="https://[::1]:8443/apns"), "[::1]:8443"),
        (Way(proxy="http://proxy:3128"), "api.push.apple.com:443 through proxy proxy:3128"),
    ],
)
def test_where_a_service_is_can_be_read(way: Way, place: str) -> None:
    assert service(HOST, way, "me:secret").where == place


def test_a_proxy_gets_its_user_and_password() -> None:
    found = service(HOST, Way(proxy="http://proxy:8080"), "me:p@ss").origin.proxy
    assert found is not None
    assert (found.host, found.port, found.authorization) == ("proxy", 8080, "me:p@ss")
    assert "p@ss" not in repr(found)


def test_the_whole_url_of_a_proxy_is_made_for_libraries_that_want_one() -> None:
    assert proxy_url(Way(proxy="http://proxy:8080"), "me:p@ss") == "http://me:p%40ss@proxy:8080"
    assert proxy_url(Way(proxy="http://proxy:8080"), "") == "http://proxy:8080"
    assert proxy_url(Way(), "me:p@ss") == ""
