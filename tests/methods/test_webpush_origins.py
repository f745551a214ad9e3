"""The origins that Web Push subscriptions may be at."""

import pytest

from methods.errors import BadRequestError
from methods.tokens import check_token
from methods.webpush_origins import BROWSERS, is_listed, read_origins
from tests.methods.device_calls import subscription


def test_origins_are_read_in_every_spelling() -> None:
    text = "push.example.com, https://Push.internal:8443/ *.example.org,https://a.b:443 localhost:9"
    assert read_origins(text) == ("push.example.com", "push.internal:8443", "*.example.org", "a.b", "localhost:9")
    assert read_origins("") == ()


@pytest.mark.parametrize(
    "entry",
    [
        "http://push.example.com",
        "https://push.example.com/path",
        "https://user@push.example.com",
        "*",
        "*.",
        "a.*.b",
        "a..b",
        "-a.b",
        "push.example.com:0",
        "push.example.com:65536",
        "push.example.com:x",
        "10.0.0.1",
        "https://127.0.0.1:8443",
        "[::1]",
        "2130706433",
        "*.0.0.1",
        "bücher.example",
    ],
)
def test_what_is_no_origin_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match=r"is no origin|is an address") as caught:
        read_origins(f"push.example.com {entry}")
    assert str(caught.value).startswith(entry)


def test_a_domain_stands_for_what_is_below_it_alone() -> None:
    origins = read_origins("*.example.org")
    assert is_listed("a.example.org", None, origins)
    assert is_listed("b.a.example.org", 443, origins)
    assert not is_listed("example.org", None, origins)
    assert not is_listed("evilexample.org", None, origins)
    assert not is_listed("a.example.org", 8443, origins)


def test_what_is_added_does_not_replace_the_browsers_services() -> None:
    origins = BROWSERS + read_origins("push.internal:8443")
    for endpoint in ("https://web.push.apple.com/x", "https://push.internal:8443/x"):
        assert check_token("webpush", subscription(endpoint), origins).token == endpoint
    with pytest.raises(BadRequestError, match="TOCSIN_WEBPUSH_ORIGINS"):
        check_token("webpush", subscription("https://push.internal/x"), origins)
