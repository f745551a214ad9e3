"""The vault: what it seals only opens with the same key, at the same place, unchanged."""

import pytest

from storage.vault import Vault, VaultError

_KEY = b"a secret key of thirty-two bytes"


def test_what_was_sealed_opens() -> None:
    assert Vault(_KEY).open(Vault(_KEY).seal(b"value", "credential:a"), "credential:a") == b"value"


def test_the_same_value_is_sealed_differently_each_time() -> None:
    vault = Vault(_KEY)
    assert vault.seal(b"value", "p") != vault.seal(b"value", "p")


def test_the_value_cannot_be_read_off_the_seal() -> None:
    assert b"value" not in Vault(_KEY).seal(b"value", "p")


def test_another_key_does_not_open_it() -> None:
    sealed = Vault(_KEY).seal(b"value", "p")
    with pytest.raises(VaultError, match="another secret key"):
        Vault(_KEY + b"!").open(sealed, "p")


def test_another_place_does_not_open_it() -> None:
    vault = Vault(_KEY)
    with pytest.raises(VaultError):
        vault.open(vault.seal(b"value", "credential:a"), "credential:b")


@pytest.mark.parametrize("position", [0, 12, -1])
def test_a_changed_byte_does_not_open(position: int) -> None:
    vault = Vault(_KEY)
    sealed = bytearray(vault.seal(b"value", "p"))
    sealed[position] ^= 1
    with pytest.raises(VaultError):
        vault.open(bytes(sealed), "p")


@pytest.mark.parametrize("length", [12, 20])
def test_a_seal_cut_short_does_not_open(length: int) -> None:
    vault = Vault(_KEY)
    with pytest.raises(VaultError):
        vault.open(vault.seal(b"value", "p")[:length], "p")


def test_the_representation_shows_no_key() -> None:
    assert repr(Vault(_KEY)) == "Vault()"
