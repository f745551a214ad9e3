"""The emulators' certificate authority and what is kept in their folder."""

import stat
from pathlib import Path

import pytest
from cryptography import x509

from emulators.apns import ApnsEmulator
from emulators.authority import Authority, keep
from emulators.fcm import FcmEmulator


def test_a_kept_authority_stays_the_same(tmp_path: Path) -> None:
    first, second = Authority.open(tmp_path), Authority.open(tmp_path)
    assert first.ca_pem == second.ca_pem
    assert (tmp_path / "ca.pem").read_text() == first.ca_pem


def test_its_key_is_for_its_owner_only(tmp_path: Path) -> None:
    Authority.open(tmp_path)
    assert stat.S_IMODE((tmp_path / "authority.pem").stat().st_mode) == 0o600


def test_whoever_comes_first_creates_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"

    def overtaken() -> bytes:
        path.write_bytes(b"theirs")
        return b"ours"

    assert keep(path, overtaken) == b"theirs"
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


def test_a_client_certificate_names_its_topic() -> None:
    pem = Authority.create().client_certificate("com.example.tocsin")
    certificate = x509.load_pem_x509_certificate(pem.encode())
    assert "UID=com.example.tocsin" in certificate.subject.rfc4514_string()


async def test_emulators_share_a_folder_and_keep_their_keys(tmp_path: Path) -> None:
    async with ApnsEmulator(data_dir=tmp_path) as apns, FcmEmulator(data_dir=tmp_path) as fcm:
        assert apns.authority.ca_pem == fcm.authority.ca_pem
        key, account = apns.signing_key(), fcm.service_account()
    async with ApnsEmulator(data_dir=tmp_path) as apns, FcmEmulator(data_dir=tmp_path) as fcm:
        assert apns.signing_key() == key
        assert fcm.service_account()["private_key"] == account["private_key"]


async def test_nothing_is_known_before_the_start() -> None:
    apns = ApnsEmulator()
    with pytest.raises(RuntimeError):
        apns.signing_key()
    with pytest.raises(RuntimeError):
        _ = apns.authority


async def test_a_taken_port_is_an_error_and_leaves_nothing_open(apns: ApnsEmulator) -> None:
    other = ApnsEmulator(control_port=apns.control_port)
    with pytest.raises(OSError, match="address already in use"):
        await other.start()
    await other.stop()
