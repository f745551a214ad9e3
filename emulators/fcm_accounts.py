"""Service accounts of the emulated FCM: key pair and JSON as Google hands them out."""

import hashlib

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from emulators.oauth import Account


def new_private_pem() -> bytes:
    """A new RSA key as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def account_of(project_id: str, private_pem: str) -> Account:
    """What the token endpoint has to know of a project's account."""
    key = serialization.load_pem_private_key(private_pem.encode(), password=None)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Account(_client_email(project_id), public.decode(), project_id)


def service_account_json(project_id: str, private_pem: str, token_url: str) -> dict[str, str]:
    """The content of a service account file."""
    email = _client_email(project_id)
    return {
        "type": "service_account",
        "project_id": project_id,
        "private_key_id": hashlib.sha256(private_pem.encode()).hexdigest()[:40],
        "private_key": private_pem,
        "client_email": email,
        "client_id": "100000000000000000001",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": token_url,
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
        "client_x509_cert_url": f"https://www.googleapis.com/robot/v1/metadata/x509/{email}",
        "universe_domain": "googleapis.com",
    }


def _client_email(project_id: str) -> str:
    return f"firebase-adminsdk@{project_id}.iam.gserviceaccount.com"
