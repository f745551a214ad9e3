"""The settings of the queue: what they may be, and that they keep their secret."""

import pytest

from emulators.authority import Authority
from server.settings import Settings, SettingsError, read
from server.worker_process import options_of


def test_without_a_url_the_queue_is_in_postgresql() -> None:
    assert options_of(Settings()).queue.url == ""


def test_the_url_and_the_authority_reach_the_workers() -> None:
    pem = Authority.create().ca_pem
    settings = read({"TOCSIN_QUEUE_URL": "rediss://:hidden@redis:6380", "TOCSIN_QUEUE_TLS_CA": pem})
    options = options_of(settings)
    assert (options.queue.url, options.queue.tls_ca) == ("rediss://:hidden@redis:6380", pem.strip())
    assert "hidden" not in f"{settings!r}{options!r}"


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("TOCSIN_QUEUE_URL", "redis:6379", "redis://"),
        ("TOCSIN_QUEUE_URL", "redis://:hidden@one,two", "several hosts"),
        ("TOCSIN_QUEUE_TLS_CA", "/nowhere/ca.pem", "PEM"),
    ],
)
def test_a_mistake_is_told_without_the_password(variable: str, value: str, told: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable}: .*{told}") as caught:
        read({variable: value})
    assert "hidden" not in str(caught.value)
