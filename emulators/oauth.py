"""Google's OAuth 2 token endpoint for service accounts: signed assertions in, access tokens out.

Source: https://developers.google.com/identity/protocols/oauth2/service-account
"""

import secrets
from collections.abc import Iterable
from urllib.parse import parse_qs

import jwt
import msgspec

from emulators.exchange import Answer, Request
from emulators.fcm_errors import JSON

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# google-auth signs for this audience whatever the token_uri is.
GOOGLE_AUDIENCE = "https://oauth2.googleapis.com/token"
SCOPES = frozenset(
    {
        "https://www.googleapis.com/auth/firebase.messaging",
        "https://www.googleapis.com/auth/cloud-platform",
    }
)
MAX_ASSERTION_SECONDS = 3600
MAX_CLOCK_AHEAD_SECONDS = 300
_MAX_TOKENS = 10_000
_JWS = jwt.PyJWS()


class Account(msgspec.Struct, frozen=True):
    """A service account the endpoint knows: its address, its public key and the project it may send for."""

    client_email: str
    public_pem: str
    project_id: str


class AccessToken(msgspec.Struct, frozen=True):
    """An access token that was given out."""

    project_id: str
    expires_at: float


class _Assertion(msgspec.Struct):
    iss: str
    scope: str
    aud: str
    iat: int
    exp: int


class _Denied(Exception):
    """The OAuth error code and a text about it."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.status = status


class TokenEndpoint:
    """Gives access tokens that live for `lifetime_seconds` to the known accounts, and knows them again."""

    def __init__(self, lifetime_seconds: float, accounts: Iterable[Account] = ()) -> None:
        self._lifetime = lifetime_seconds
        self._accounts = {account.client_email: account for account in accounts}
        self._tokens: dict[str, AccessToken] = {}

    def register(self, account: Account) -> None:
        """Know one more account."""
        self._accounts[account.client_email] = account

    def grant(self, project_id: str, now: float) -> str:
        """A new access token for the project. Beyond 10,000 the oldest is forgotten."""
        token = "ya29." + secrets.token_urlsafe(48)
        while len(self._tokens) >= _MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[token] = AccessToken(project_id, now + self._lifetime)
        return token

    def holder(self, token: str, now: float) -> AccessToken | None:
        """What is known of an access token that has not expired."""
        known = self._tokens.get(token)
        return known if known is not None and known.expires_at > now else None

    def revoke_all(self) -> None:
        """No token given out so far is good any more."""
        self._tokens.clear()

    def handle(self, request: Request, own_url: str, now: float) -> Answer:
        """Answer `POST /token`."""
        try:
            account = self._authorize(request, own_url, now)
        except _Denied as denied:
            body = {"error": denied.error, "error_description": str(denied)}
            return Answer(denied.status, [JSON], msgspec.json.encode(body), denied.error)
        token = self.grant(account.project_id, now)
        body_out = {"access_token": token, "expires_in": int(self._lifetime), "token_type": "Bearer"}
        return Answer(200, [JSON], msgspec.json.encode(body_out), accepted=True)

    def _authorize(self, request: Request, own_url: str, now: float) -> Account:
        if request.method != "POST":
            raise _Denied("invalid_request", "The method must be POST.", 405)
        form = parse_qs(request.body.decode("utf-8", "replace"))
        if form.get("grant_type") != [GRANT_TYPE]:
            raise _Denied("unsupported_grant_type", "Invalid grant_type.")
        account, claims = self._verified(form.get("assertion", [""])[0])
        if claims.aud not in {GOOGLE_AUDIENCE, own_url}:
            raise _Denied("invalid_grant", "Invalid JWT: audience is not this endpoint.")
        if claims.exp <= now or claims.iat > now + MAX_CLOCK_AHEAD_SECONDS:
            raise _Denied("invalid_grant", "Invalid JWT: iat and exp must enclose the present time.")
        if not 0 < claims.exp - claims.iat <= MAX_ASSERTION_SECONDS:
            raise _Denied("invalid_grant", "Invalid JWT: it must be valid for an hour at most.")
        if not SCOPES.intersection(claims.scope.split()):
            raise _Denied("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        return account

    def _verified(self, assertion: str) -> tuple[Account, _Assertion]:
        try:
            unproven = _JWS.decode(assertion, options={"verify_signature": False})
            claims = msgspec.json.decode(unproven, type=_Assertion)
            account = self._accounts.get(claims.iss)
            if account is None:
                raise _Denied("invalid_grant", "Invalid grant: account not found")
            _JWS.decode(assertion, account.public_pem, algorithms=["RS256"])
        except jwt.InvalidSignatureError:
            raise _Denied("invalid_grant", "Invalid JWT Signature.") from None
        except (jwt.PyJWTError, msgspec.DecodeError):
            raise _Denied("invalid_grant", "Bad Request: the assertion is not a valid JWT.") from None
        return account, claims
