"""What the URLs of Redis may look like."""

from pathlib import Path

import pytest

from delivery.queues.redis_address import parse, tls_context
from emulators.authority import Authority


def test_a_server_with_all_its_parts() -> None:
    found = parse("rediss://user:p%40ss%2F@redis.example.com:6380/2")
    assert (found.kind, found.tls, found.hosts) == ("server", True, (("redis.example.com", 6380),))
    assert (found.user, found.password, found.db) == ("user", "p@ss/", 2)


@pytest.mark.parametrize("url", ["redis://host", "redis://host/", "valkey://host:6379/0", "REDIS://host"])
def test_what_is_left_out_is_usual(url: str) -> None:
    found = parse(url)
    assert (found.kind, found.tls, found.hosts, found.db) == ("server", False, (("host", 6379),), 0)
    assert (found.user, found.password) == ("", "")


def test_a_password_needs_no_user_and_an_address_may_be_ipv6() -> None:
    assert parse("redis://:secret@[::1]").password == "secret"
    assert parse("redis://[::1]:7000").hosts == (("::1", 7000),)


def test_sentinels_with_their_master() -> None:
    found = parse("rediss+sentinel://user:word@one:1,two,[::1]:3/main/4")
    assert (found.kind, found.tls, found.master, found.db) == ("sentinel", True, "main", 4)
    assert found.hosts == (("one", 1), ("two", 26379), ("::1", 3))


def test_some_nodes_of_a_cluster() -> None:
    assert parse("valkeys+cluster://one:7000,two:7001").hosts == (("one", 7000), ("two", 7001))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:6379",
        "http://user:hidden@host",
        "redis+ring://user:hidden@host",
        "redis://user:hidden@",
        "redis://user:hidden@host:port",
        "redis://user:hidden@host:99999",
        "redis://user:hidden@host/name",
        "redis://user:hidden@one,two",
        "redis://user:hidden@host?ssl=1",
        "redis://user:hid#den@host",
        "redis+sentinel://user:hidden@host",
        "redis+cluster://user:hidden@host/3",
    ],
)
def test_what_is_wrong_is_told_without_the_password(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(url)
    assert "hidden" not in str(caught.value)


def test_an_address_is_shown_without_its_password() -> None:
    for url in ("redis://u:hidden@host", "redis+sentinel://u:hidden@host/name", "redis+cluster://u:hidden@host"):
        assert "hidden" not in f"{parse(url)} {parse(url)!r}"
        assert "host" in str(parse(url))


def test_an_authority_is_text_or_a_file(tmp_path: Path) -> None:
    pem = Authority.create().ca_pem
    file = tmp_path / "ca.pem"
    file.write_text(pem)
    assert len(tls_context(pem).get_ca_certs()) == len(tls_context(str(file)).get_ca_certs()) == 1
    for wrong in ("/nowhere/ca.pem", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"):
        with pytest.raises(ValueError, match="certificate authority"):
            tls_context(wrong)
