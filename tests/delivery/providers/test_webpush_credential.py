"""The fields of a Web Push credential."""

from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from delivery.providers.credential_fields import CredentialError, CredentialFields
from delivery.providers.webpush_credential import WebpushSecrets, WebpushSettings, load_vapid_key, parse
from delivery.providers.webpush_vapid import base64url, generate_pair, private_number, public_point

PUBLIC, PRIVATE = generate_pair()


def fields(**changes: Any) -> CredentialFields:
    given = {"provider_id": "web", "provider": "webpush", "private_key": PRIVATE, "subject": "mailto:push@example.com"}
    return msgspec.convert(given | changes, CredentialFields)


def refusal(**changes: Any) -> CredentialError:
    with pytest.raises(CredentialError) as caught:
        parse(fields(**changes))
    return caught.value


def pem_of(key: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
    text: bytes = key.private_bytes(Encoding.PEM, form, NoEncryption())
    return text.decode()


def test_settings_keep_what_may_be_shown_and_secrets_the_key() -> None:
    settings, secrets, environment = parse(fields(public_key=PUBLIC, proxy="http://me:word@proxy.example:8080"))
    assert (settings.public_key, settings.subject, environment) == (PUBLIC, "mailto:push@example.com", "")
    assert settings.way.proxy == "http://proxy.example:8080"
    assert settings.way.quota_per_minute == 0
    assert secrets == WebpushSecrets(private_key=PRIVATE, proxy_user="me:word")
    assert PRIVATE not in repr(secrets) + msgspec.json.encode(settings).decode()
    assert msgspec.json.decode(msgspec.json.encode(settings), type=WebpushSettings) == settings


def test_the_public_key_follows_from_the_private_one() -> None:
    assert parse(fields())[0].public_key == PUBLIC


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_key_in_pem_form_is_kept_as_its_number(form: PrivateFormat) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    settings, secrets, _ = parse(fields(private_key=pem_of(key, form).replace("\n", "\\n")))
    assert secrets.private_key == base64url(private_number(key)).decode()
    assert public_point(load_vapid_key(secrets.private_key)) == public_point(key)
    assert settings.public_key == base64url(public_point(key)).decode()


def test_keys_are_taken_in_any_base64() -> None:
    plain = {"private_key": PRIVATE + "=", "public_key": PUBLIC.replace("-", "+").replace("_", "/") + "="}
    settings, secrets, _ = parse(fields(**plain))
    assert (settings.public_key, secrets.private_key) == (PUBLIC, PRIVATE)


@pytest.mark.parametrize(
    "key",
    [
        "short",
        PRIVATE[:-2],
        PRIVATE + "AAAA",
        "!" * 43,
        "A" * 43,  # zero
        "_" * 43,  # larger than the order of the curve
        PUBLIC,
        "-----BEGIN PRIVATE KEY-----\nnothing\n-----END PRIVATE KEY-----",
        pem_of(ec.generate_private_key(ec.SECP384R1())),
        pem_of(rsa.generate_private_key(65537, 2048)),
    ],
)
def test_what_is_no_p256_key_is_refused_and_not_repeated(key: str) -> None:
    error = refusal(private_key=key)
    assert error.path == "private_key"
    assert "P-256" in error.detail
    assert key not in str(error)


def test_a_key_is_required() -> None:
    assert "required" in refusal(private_key=None).detail


def test_a_public_key_of_another_pair_is_refused() -> None:
    assert refusal(public_key=generate_pair()[0]).path == "public_key"


@pytest.mark.parametrize(
    "subject", ["mailto:push@example.com", "https://example.com/contact", "mailto:a.b+c@d.example"]
)
def test_a_subject_is_an_address_or_a_page(subject: str) -> None:
    assert parse(fields(subject=f" {subject} "))[0].subject == subject


@pytest.mark.parametrize(
    "subject",
    [
        None,
        "",
        "push@example.com",
        "http://example.com",
        "mailto:",
        "mailto:push",
        "mailto: push@example.com",
        "mailto:<push@example.com>",
        "https://",
        "mailto:püsh@example.com",
        "mailto:" + "a" * 250 + "@example.com",
    ],
)
def test_any_other_subject_is_refused(subject: str | None) -> None:
    assert refusal(subject=subject).path == "subject"


def test_no_transport_but_the_multiplexer_is_there() -> None:
    assert refusal(transport="aioapns").path == "transport"
