"""APNs provider tokens (JWT): what makes one valid, and how often a connection may change it.

Rules: https://developer.apple.com/documentation/usernotifications/establishing-a-token-based-connection-to-apns
"""

from collections.abc import Iterable

import jwt
import msgspec

MAX_AGE_SECONDS = 3600
UPDATE_INTERVAL_SECONDS = 20 * 60
# Not documented: a provider whose clock is ahead by more than this is refused.
MAX_CLOCK_AHEAD_SECONDS = 60
_CACHE_SIZE = 1000
_JWS = jwt.PyJWS()


class ProviderKey(msgspec.Struct, frozen=True, kw_only=True):
    """A signing key the emulated APNs knows.

    `environment` None serves both environments; `topics` makes it a topic-scoped key, which cannot share a connection
    with another key.
    """

    key_id: str
    team_id: str
    public_pem: str
    environment: str | None = None
    topics: tuple[str, ...] | None = None


class ProviderSession(msgspec.Struct):
    """What one connection knows about its provider: bound to a team and a key by the first valid token, or to a
    topic by its certificate.
    """

    team_id: str = ""
    key_id: str = ""
    topics: tuple[str, ...] | None = None
    known: list[str] = []
    updated_at: float = 0.0
    certificate_topic: str | None = None


class Claims(msgspec.Struct, frozen=True):
    """What a well-formed token says."""

    key_id: str
    team_id: str
    issued_at: int


class ProviderTokens:
    """The authentication desk of one APNs environment.

    `time_scale` shortens both the hour a token lives and the 20 minutes between two new ones. A token of an
    unregistered key is checked for structure only when `accept_unknown_keys`, else refused.
    """

    def __init__(
        self,
        environment: str,
        keys: Iterable[ProviderKey] = (),
        time_scale: float = 1.0,
        accept_unknown_keys: bool = True,
    ) -> None:
        self._environment = environment
        self._keys = {key.key_id: key for key in keys}
        self._time_scale = time_scale
        self._accept_unknown_keys = accept_unknown_keys
        self._verified: dict[str, Claims | None] = {}

    def register(self, key: ProviderKey) -> None:
        """Know a key from now on."""
        self._keys[key.key_id] = key
        self._verified.clear()

    def check(
        self, authorization: str | None, session: ProviderSession, now: float, clock_offset: float = 0.0
    ) -> str | None:
        """The reason to refuse the request, or None when its token is good for this connection.

        The token's age is judged by a clock that is off by `clock_offset` seconds, the interval between two is not.
        """
        if not authorization:
            return "MissingProviderToken"
        scheme, _, token = authorization.partition(" ")
        claims = self._claims(token) if scheme.lower() == "bearer" else None
        if claims is None or claims.issued_at > now + clock_offset + MAX_CLOCK_AHEAD_SECONDS:
            return "InvalidProviderToken"
        if now + clock_offset - claims.issued_at > MAX_AGE_SECONDS * self._time_scale:
            return "ExpiredProviderToken"
        key = self._keys.get(claims.key_id)
        if key is not None and key.environment not in {None, self._environment}:
            return "BadEnvironmentKeyIdInToken"
        return self._bind(session, claims, key) or self._update(session, token, now)

    def _bind(self, session: ProviderSession, claims: Claims, key: ProviderKey | None) -> str | None:
        topics = key.topics if key is not None else None
        if not session.team_id:
            session.team_id, session.key_id, session.topics = claims.team_id, claims.key_id, topics
        elif session.team_id != claims.team_id:
            return "InvalidProviderToken"
        elif session.key_id != claims.key_id and (topics or session.topics):
            return "UnrelatedKeyIdInToken"
        return None

    def _update(self, session: ProviderSession, token: str, now: float) -> str | None:
        if token in session.known:
            return None
        if session.known and now - session.updated_at < UPDATE_INTERVAL_SECONDS * self._time_scale:
            return "TooManyProviderTokenUpdates"
        session.updated_at = now
        session.known = [*session.known[-7:], token]
        return None

    def _claims(self, token: str) -> Claims | None:
        if token not in self._verified:
            if len(self._verified) >= _CACHE_SIZE:
                self._verified.clear()
            self._verified[token] = self._verify(token)
        return self._verified[token]

    def _verify(self, token: str) -> Claims | None:
        """Check structure, algorithm and, for a known key, signature and team."""
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.get(header.get("kid", ""))
            if key is not None:
                payload = _JWS.decode(token, key.public_pem, algorithms=["ES256"])
            elif self._accept_unknown_keys:
                payload = _JWS.decode(token, options={"verify_signature": False})
            else:
                return None
            claims = msgspec.json.decode(payload, type=dict[str, object])
        except (jwt.PyJWTError, msgspec.DecodeError):
            return None
        return _claims(header, claims, key)


def _claims(header: dict[str, object], claims: dict[str, object], key: ProviderKey | None) -> Claims | None:
    key_id, team_id, issued_at = header.get("kid"), claims.get("iss"), claims.get("iat")
    if header.get("alg") != "ES256" or not isinstance(key_id, str) or not key_id:
        return None
    # True is an int to Python; a fraction or a text is refused by APNs.
    if not isinstance(team_id, str) or not team_id or type(issued_at) is not int:
        return None
    if key is not None and key.team_id != team_id:
        return None
    return Claims(key_id, team_id, issued_at)
