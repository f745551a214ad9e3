"""Credentials as operators give them: checked for real, and never shown again."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from delivery.providers.apns_credential import ApnsSettings
from delivery.providers.credentials import (
    CredentialError,
    CredentialFields,
    UnsupportedCredentialError,
    parse_credential,
)
from delivery.providers.declared import declared_credentials
from delivery.providers.fcm_credential import FcmSettings
from delivery.providers.webpush_vapid import generate_pair


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def certificate_of(key: ec.EllipticCurvePrivateKey, days: int = 30) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.USER_ID, "com.example.cert")])
    start = datetime.now(UTC) - timedelta(days=60)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=60 + days))
    return builder.sign(key, hashes.SHA256())


EC_KEY = ec.generate_private_key(ec.SECP256R1())
P8 = pem_of(EC_KEY)
RSA_PEM = pem_of(rsa.generate_private_key(65537, 2048))
CERTIFIED = certificate_of(EC_KEY)
CERTIFICATE = CERTIFIED.public_bytes(Encoding.PEM).decode()
EXPIRED = certificate_of(EC_KEY, -1).public_bytes(Encoding.PEM).decode()
P12 = base64.b64encode(
    pkcs12.serialize_key_and_certificates(b"x", EC_KEY, CERTIFIED, None, BestAvailableEncryption(b"pw"))
).decode()
APNS: dict[str, Any] = {
    "provider_id": "main",
    "provider": "apns",
    "key": P8,
    "key_id": "KEY4567890",
    "team_id": "TEAM567890",
    "bundle_id": "com.example.app",
}
BY_CERTIFICATE: dict[str, Any] = {"provider_id": "main", "provider": "apns", "certificate": CERTIFICATE + P8}
ACCOUNT: dict[str, Any] = {
    "type": "service_account",
    "project_id": "my-project",
    "private_key_id": "abc",
    "private_key": RSA_PEM,
    "client_email": "push@my-project.iam.gserviceaccount.com",
    "token_uri": "https://oauth2.googleapis.com/token",
}
FCM: dict[str, Any] = {"provider_id": "project", "provider": "fcm", "service_account": ACCOUNT}
PUBLIC_KEY, PRIVATE_KEY = generate_pair()
WEBPUSH: dict[str, Any] = {
    "provider_id": "web",
    "provider": "webpush",
    "private_key": PRIVATE_KEY,
    "subject": "mailto:ops@example.com",
}
HMS: dict[str, Any] = {
    "provider_id": "huawei",
    "provider": "hms",
    "app_id": "104856781",
    "app_secret": "0123456789abcdef0123456789abcdef",
}
WEBHOOK: dict[str, Any] = {
    "provider_id": "company",
    "provider": "webhook",
    "url": "https://example.com/push",
    "secret": "a secret of sixteen",
}
ALL = {"apns": APNS, "fcm": FCM, "webpush": WEBPUSH, "hms": HMS, "webhook": WEBHOOK}


def test_a_signing_key_is_sealed_off_from_what_may_be_shown() -> None:
    new = parse_credential(APNS | {"environment": "sandbox", "content_available": True})
    settings = msgspec.json.decode(new.settings, type=ApnsSettings)
    assert (settings.key_id, settings.team_id, settings.bundle_id) == ("KEY4567890", "TEAM567890", "com.example.app")
    assert (new.environment, settings.content_available) == ("sandbox", True)
    assert b"PRIVATE" not in new.settings
    assert "PRIVATE" not in repr(new)


def test_a_key_pasted_with_escaped_line_ends_is_read() -> None:
    assert parse_credential(APNS | {"key": P8.replace("\n", "\\n")}) == parse_credential(APNS)


@pytest.mark.parametrize(
    "given", [{"certificate": CERTIFICATE + P8}, {"certificate": P12, "certificate_password": "pw"}]
)
def test_a_certificate_brings_its_own_bundle_id_and_its_end(given: dict[str, str]) -> None:
    new = parse_credential({"provider_id": "main", "provider": "apns"} | given)
    settings = msgspec.json.decode(new.settings, type=ApnsSettings)
    assert settings.bundle_id == "com.example.cert"
    assert settings.certificate is not None
    assert settings.certificate.fingerprint == CERTIFIED.fingerprint(hashes.SHA256()).hex()
    assert settings.certificate.expires_at == int(CERTIFIED.not_valid_after_utc.timestamp())


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"provider_id": ""}, "provider_id"),
        ({"provider_id": "a b"}, "provider_id"),
        ({"provider": "sms"}, "provider"),
        ({"key": "no key"}, "key"),
        ({"key": RSA_PEM}, "key"),
        ({"key": None}, "key"),
        ({"certificate": CERTIFICATE + P8}, "key"),
        ({"key_id": "short"}, "key_id"),
        ({"team_id": None}, "team_id"),
        ({"bundle_id": "a/b"}, "bundle_id"),
        ({"environment": "test"}, "environment"),
        ({"endpoint": "gateway:443"}, "endpoint"),
        ({"endpoint": "https://user@gateway"}, "endpoint"),
        ({"endpoint": "https://gateway:99999"}, "endpoint"),
        ({"tls_ca": "no certificate"}, "tls_ca"),
        ({"proxy": "socks5://proxy:1"}, "proxy"),
        ({"max_connections": 0}, "max_connections"),
        ({"max_connections": "many"}, "max_connections"),
        ({"service_account": ACCOUNT}, "service_account"),
        ({"certificate_password": "x"}, "certificate_password"),
    ],
)
def test_what_is_wrong_with_an_apns_credential_is_named(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(CredentialError) as caught:
        parse_credential(APNS | changes)
    assert caught.value.path == path
    assert "PRIVATE" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"certificate": CERTIFICATE}, "certificate"),
        ({"certificate": P8}, "certificate"),
        ({"certificate": EXPIRED + P8}, "certificate"),
        ({"certificate": CERTIFICATE + RSA_PEM}, "certificate"),
        ({"certificate": P12}, "certificate"),
        ({"certificate": "%%%"}, "certificate"),
        ({"certificate_password": "surplus"}, "certificate_password"),
        ({"key_id": "KEY4567890"}, "key_id"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_named(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(CredentialError) as caught:
        parse_credential(BY_CERTIFICATE | changes)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("account", "path"),
    [
        (None, "service_account"),
        ("{", "service_account"),
        ("[]", "service_account"),
        ({}, "service_account"),
        (ACCOUNT | {"type": "authorized_user"}, "service_account.type"),
        (ACCOUNT | {"project_id": "a/b"}, "service_account.project_id"),
        (ACCOUNT | {"project_id": 3}, "service_account.project_id"),
        (ACCOUNT | {"private_key": "x"}, "service_account.private_key"),
        (ACCOUNT | {"private_key": P8}, "service_account.private_key"),
        (ACCOUNT | {"token_uri": "file:///etc"}, "service_account.token_uri"),
        ({"project_id": "x"}, "service_account"),
    ],
)
def test_what_is_wrong_with_a_service_account_is_named(account: object, path: str) -> None:
    with pytest.raises(CredentialError) as caught:
        parse_credential(FCM | {"service_account": account})
    assert caught.value.path == path


def test_a_service_account_is_taken_as_object_and_as_text() -> None:
    as_text = FCM | {"service_account": msgspec.json.encode(ACCOUNT).decode()}
    assert parse_credential(as_text) == parse_credential(FCM)
    settings = msgspec.json.decode(parse_credential(FCM).settings, type=FcmSettings)
    assert (settings.project_id, settings.include_notification) == ("my-project", True)
    assert b"PRIVATE" not in parse_credential(FCM).settings


def test_a_proxys_password_is_a_secret() -> None:
    new = parse_credential(FCM | {"proxy": "http://me:p%40ss@proxy.local:8080"})
    assert msgspec.json.decode(new.settings)["way"]["proxy"] == "http://proxy.local:8080"
    assert msgspec.json.decode(new.secrets)["proxy_user"] == "me:p@ss"


@pytest.mark.parametrize("provider", ALL)
def test_what_belongs_to_another_provider_is_refused(provider: str) -> None:
    own = {"provider_id", "provider", *ALL[provider]}
    foreign = {name: value for params in ALL.values() for name, value in params.items() if name not in own}
    assert parse_credential(ALL[provider]).provider == provider
    for name, value in foreign.items():
        with pytest.raises(CredentialError) as caught:
            parse_credential(ALL[provider] | {name: value})
        assert (caught.value.path, caught.value.detail) == (name, f"not a field of {provider}")


def test_an_unknown_provider_is_told_which_there_are() -> None:
    with pytest.raises(CredentialError) as caught:
        parse_credential({"provider_id": "x", "provider": "sms"})
    assert (caught.value.path, caught.value.detail) == ("provider", "apns, fcm, webpush, hms or webhook is expected")


def test_no_secret_is_in_a_representation() -> None:
    for params in ALL.values():
        fields = msgspec.convert(params, CredentialFields)
        shown = repr(fields) + repr(parse_credential(params))
        assert not [value for value in params.values() if str(value) in shown and len(str(value)) > 20]


def test_a_transport_that_is_not_there_is_not_available() -> None:
    with pytest.raises(UnsupportedCredentialError):
        parse_credential(APNS | {"transport": "carrier pigeon"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "key.p8").write_text(P8)
    (tmp_path / "push.p12").write_bytes(base64.b64decode(P12))
    (tmp_path / "account.json").write_bytes(msgspec.json.encode(ACCOUNT))
    (tmp_path / "list.json").write_bytes(msgspec.json.encode([APNS | {"provider_id": "listed"}, FCM]))
    return tmp_path


def test_an_environment_without_credentials_declares_none() -> None:
    assert declared_credentials({"TOCSIN_APNS_ENVIRONMENT": "sandbox", "PATH": "/bin"}) == []


def test_variables_and_the_files_they_name_declare_credentials(folder: Path) -> None:
    environ = {
        "TOCSIN_APNS_KEY_FILE": str(folder / "key.p8"),
        "TOCSIN_APNS_KEY_ID": "KEY4567890",
        "TOCSIN_APNS_TEAM_ID": "TEAM567890",
        "TOCSIN_APNS_BUNDLE_ID": "com.example.app",
        "TOCSIN_FCM_SERVICE_ACCOUNT_FILE": str(folder / "account.json"),
        "TOCSIN_FCM_PROVIDER_ID": "google",
        "TOCSIN_FCM_MAX_CONNECTIONS": "4",
        "TOCSIN_CREDENTIALS_FILE": str(folder / "list.json"),
    }
    found = declared_credentials(environ)
    assert [new.provider_id for new in found] == ["apns", "google", "listed", "project"]
    assert found[0].secrets == found[2].secrets


def test_variables_declare_web_push_hms_and_a_webhook(tmp_path: Path) -> None:
    (tmp_path / "vapid").write_text(f"{PRIVATE_KEY}\n")
    (tmp_path / "secret").write_text(HMS["app_secret"] + "\n")
    (tmp_path / "hook").write_text(WEBHOOK["secret"] + "\n")
    environ = {
        "TOCSIN_WEBPUSH_PRIVATE_KEY_FILE": str(tmp_path / "vapid"),
        "TOCSIN_WEBPUSH_PUBLIC_KEY": PUBLIC_KEY,
        "TOCSIN_WEBPUSH_SUBJECT": "mailto:ops@example.com",
        "TOCSIN_WEBPUSH_ORIGINS": "push.example.com",
        "TOCSIN_HMS_APP_ID": "104856781",
        "TOCSIN_HMS_APP_SECRET_FILE": str(tmp_path / "secret"),
        "TOCSIN_HMS_QUOTA_PER_MINUTE": "6000",
        "TOCSIN_WEBHOOK_URL": "https://example.com/push",
        "TOCSIN_WEBHOOK_SECRET_FILE": str(tmp_path / "hook"),
        "TOCSIN_WEBHOOK_BATCHED": "yes",
        "TOCSIN_WEBHOOK_BATCH_RECIPIENTS": "50",
        "TOCSIN_WEBHOOK_PROVIDER_ID": "company",
    }
    assert declared_credentials(environ) == [
        parse_credential(WEBPUSH | {"provider_id": "webpush"}),
        parse_credential(HMS | {"provider_id": "hms", "quota_per_minute": 6000}),
        parse_credential(WEBHOOK | {"batched": True, "batch_recipients": 50}),
    ]


def test_a_p12_file_declares_a_credential(folder: Path) -> None:
    environ = {"TOCSIN_APNS_CERTIFICATE_FILE": str(folder / "push.p12"), "TOCSIN_APNS_CERTIFICATE_PASSWORD": "pw"}
    assert declared_credentials(environ)[0].provider == "apns"


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"TOCSIN_APNS_KEY": "x"}, "TOCSIN_APNS_KEY"),
        ({"TOCSIN_APNS_KEY": P8, "TOCSIN_APNS_KEY_ID": "x", "TOCSIN_APNS_BUNDLE_ID": "a.b"}, "TOCSIN_APNS_KEY_ID"),
        ({"TOCSIN_APNS_KEY_FILE": "/nowhere"}, "TOCSIN_APNS_KEY_FILE"),
        ({"TOCSIN_CREDENTIALS_FILE": "/nowhere"}, "TOCSIN_CREDENTIALS_FILE"),
        ({"TOCSIN_APNS_KEY": P8, "TOCSIN_APNS_MUTABLE_CONTENT": "maybe"}, "TOCSIN_APNS_MUTABLE_CONTENT"),
        ({"TOCSIN_WEBPUSH_PRIVATE_KEY": PRIVATE_KEY}, "TOCSIN_WEBPUSH_SUBJECT"),
        ({"TOCSIN_WEBPUSH_PUBLIC_KEY": PUBLIC_KEY}, "TOCSIN_WEBPUSH_PRIVATE_KEY"),
        ({"TOCSIN_HMS_APP_SECRET": "s"}, "TOCSIN_HMS_APP_ID"),
        ({"TOCSIN_HMS_APP_ID": "1"}, "TOCSIN_HMS_APP_SECRET"),
        ({"TOCSIN_WEBHOOK_SECRET": "a secret of sixteen"}, "TOCSIN_WEBHOOK_URL"),
        ({"TOCSIN_WEBHOOK_URL": "https://example.com"}, "TOCSIN_WEBHOOK_SECRET"),
    ],
)
def test_the_variable_at_fault_is_named(environ: dict[str, str], path: str) -> None:
    with pytest.raises(CredentialError) as caught:
        declared_credentials(environ)
    assert caught.value.path == path


def test_a_name_declared_twice_is_refused(folder: Path) -> None:
    environ = {
        "TOCSIN_FCM_SERVICE_ACCOUNT_FILE": str(folder / "account.json"),
        "TOCSIN_FCM_PROVIDER_ID": "project",
        "TOCSIN_CREDENTIALS_FILE": str(folder / "list.json"),
    }
    with pytest.raises(CredentialError, match="declared twice: project"):
        declared_credentials(environ)


def test_the_place_in_a_list_is_named(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_bytes(msgspec.json.encode([FCM, APNS | {"key_id": 3}]))
    with pytest.raises(CredentialError) as caught:
        declared_credentials({"TOCSIN_CREDENTIALS_FILE": str(path)})
    assert caught.value.path == "TOCSIN_CREDENTIALS_FILE[1].key_id"
