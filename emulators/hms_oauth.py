"""Huawei's OAuth endpoint: an app's id and secret in, an access token out.

Source: https://developer.huawei.com/consumer/en/doc/HMSCore-Guides/open-platform-oauth-0000001053629189. The numbers of
its errors are not documented one by one; ours are of its form.
"""

import hmac
import secrets
from collections.abc import Callable
from urllib.parse import parse_qs

import msgspec

from emulators.exchange import Answer, Request
from emulators.hms_errors import JSON, Refusal

_MAX_TOKENS = 10_000


class AccessToken(msgspec.Struct):
    """An access token that was given out."""

    app_id: str
    expires_at: float


class AccessTokens:
    """Gives access tokens that live for `lifetime_seconds`, and knows them again; `secret_of` is '' of unknown apps."""

    def __init__(self, lifetime_seconds: float, secret_of: Callable[[str], str]) -> None:
        self._lifetime = lifetime_seconds
        self._secret_of = secret_of
        self._tokens: dict[str, AccessToken] = {}

    def grant(self, app_id: str, now: float) -> str:
        """A new access token. Beyond 10,000 the oldest is forgotten."""
        token = "DQEB" + secrets.token_urlsafe(60)
        while len(self._tokens) >= _MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[token] = AccessToken(app_id, now + self._lifetime)
        return token

    def expire_all(self) -> None:
        """All that were given out so far have expired."""
        for token in self._tokens.values():
            token.expires_at = 0.0

    def refusal(self, authorization: str, app_id: str, now: float) -> Refusal | None:
        """Why a request with this authorization is not let through to this app; None when it is."""
        scheme, _, token = authorization.partition(" ")
        known = self._tokens.get(token.strip()) if scheme.lower() == "bearer" else None
        if known is None or known.app_id != app_id:
            return Refusal("80200001")
        return Refusal("80200003") if known.expires_at <= now else None

    def handle(self, request: Request, now: float) -> Answer:
        """Answer `POST /oauth2/v3/token`."""
        form = {name: values[-1] for name, values in parse_qs(request.body.decode("utf-8", "replace")).items()}
        if request.method != "POST":
            return _denied(405, 1101, "the method must be POST")
        if form.get("grant_type") != "client_credentials":
            return _denied(400, 1102, "grant_type must be client_credentials")
        app_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        right = self._secret_of(app_id)
        if not right or not hmac.compare_digest(right.encode(), secret.encode()):
            return _denied(400, 1101, "client_id or client_secret is not correct")
        body = {"access_token": self.grant(app_id, now), "expires_in": int(self._lifetime), "token_type": "Bearer"}
        return Answer(200, [JSON], msgspec.json.encode(body), accepted=True)


def _denied(status: int, error: int, text: str) -> Answer:
    body = {"error": error, "sub_error": error * 10, "error_description": text}
    return Answer(status, [JSON], msgspec.json.encode(body), str(error))
