"""An emulated APNs: the HTTP/2 provider API of one environment, as clients meet it."""

import asyncio
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from ssl import SSLObject
from typing import Literal, NamedTuple, Unpack, cast

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from emulators.apns_channels import ChannelAnswer, Channels, is_channel_path
from emulators.apns_checks import (
    DEVICE_PATH,
    STATUSES,
    USUAL_REASONS,
    ApnsRules,
    check_device_push,
    valid_message_id,
)
from emulators.apns_tokens import ApnsOwner, ApnsTokens
from emulators.authority import keep
from emulators.emulator import Emulator, Place
from emulators.exchange import PUSH, Answer, Connection, Request
from emulators.faults import Action, Goaway
from emulators.http2_streams import Http2Limits
from emulators.provider_tokens import ProviderKey, ProviderSession, ProviderTokens

KEY_ID = "TOCSINKEY1"
TEAM_ID = "TOCSINTEAM"
BUNDLE_ID = "com.example.tocsin"
_KEY_FILE = "apns-key.p8"
_JSON = ("content-type", "application/json")


class SigningKey(NamedTuple):
    """A ready credential for this emulator."""

    p8_pem: str
    key_id: str
    team_id: str
    bundle_id: str


class ApnsEmulator(Emulator):
    """APNs on loopback; `place` is explained at `emulators.emulator.Place`.

    `initial_streams` streams until the first request with a valid provider token, `max_streams_after_first` from then
    on. `topics` are the bundle ids that may be used (None: any); `keys` further signing keys, `require_known_keys`
    refuses all others. `known_tokens_only` refuses device tokens that `POST /tokens` did not name. `token_time_scale`
    shortens the hour a provider token lives and the 20 minutes between two; `window_update_delay` (seconds) holds
    WINDOW_UPDATE back.
    """

    def __init__(
        self,
        *,
        environment: Literal["production", "sandbox"] = "production",
        initial_streams: int = 1,
        max_streams_after_first: int = 1000,
        topics: Iterable[str] | None = None,
        keys: Iterable[ProviderKey] = (),
        require_known_keys: bool = False,
        known_tokens_only: bool = False,
        token_time_scale: float = 1.0,
        window_update_delay: float = 0.0,
        **place: Unpack[Place],
    ) -> None:
        limits = Http2Limits(initial_streams=initial_streams, window_update_delay=window_update_delay)
        super().__init__(limits, place)
        self.environment = environment
        self._max_streams = max_streams_after_first
        self._tokens = ApnsTokens()
        allowed = None if topics is None else frozenset(topics)
        self._rules = ApnsRules(environment, allowed, self._tokens, known_tokens_only)
        self._desk = ProviderTokens(environment, keys, token_time_scale, not require_known_keys)
        self._sessions: dict[int, ProviderSession] = {}
        self._signing_key: SigningKey | None = None
        self._channels = Channels(allowed)

    def signing_key(self) -> SigningKey:
        """A provider key this emulator knows, with its ids and a bundle id to send to."""
        if self._signing_key is None:
            raise RuntimeError("the emulator is not started")
        return self._signing_key

    @property
    def key_path(self) -> Path | None:
        """Where the ready key is kept, when it is."""
        return self.data_dir / _KEY_FILE if self.data_dir is not None else None

    def register_key(self, key: ProviderKey) -> None:
        """Know one more provider key."""
        self._desk.register(key)

    def describe(self) -> dict[str, object]:
        """Addresses, environment and the ready key's ids."""
        key = self.signing_key()
        return {
            "kind": "apns",
            "url": self.url,
            "control_url": self.control_url,
            "environment": self.environment,
            "ca_pem": self.authority.ca_pem,
            "ca_path": str(self.authority.ca_path) if self.authority.ca_path else None,
            "key_id": key.key_id,
            "team_id": key.team_id,
            "bundle_id": key.bundle_id,
            "key_p8": key.p8_pem,
        }

    # emulators.emulator.Emulator

    def read(self, request: Request) -> None:
        """A path of the broadcast API is that; everything else is a push to a device, well-formed or not."""
        if is_channel_path(request.path):
            request.kind = "broadcast"
            return
        request.kind = PUSH
        if request.path.startswith(DEVICE_PATH):
            request.token = request.path.removeprefix(DEVICE_PATH).lower()
        request.message_id = request.headers.get("apns-id", "")

    def process(self, request: Request) -> Answer:
        """Authentication first, then everything else; the first valid token lets the connection have more streams."""
        session = self._sessions[request.connection_id]
        reason = self._authenticate(request, session)
        if reason is None:
            connection = self._ports.connections.get(request.connection_id)
            if connection is not None:
                connection.raise_streams(self._max_streams)
            if request.kind != PUSH:
                return _channel_answer(self._channels.handle(request))
            reason = check_device_push(request, self._rules, session.topics)
        return self._refusal(request, reason) if reason else self._success(request)

    def forced(self, action: Action) -> Answer:
        """The answer a rule gives; ValueError when its reason is unknown and it has no status."""
        reason = action.reason or USUAL_REASONS.get(action.status or 0, "")
        status = action.status or STATUSES.get(reason)
        if action.html:
            status = action.status or 502
            return _html(status)
        if status is None:
            raise ValueError(f"status is needed: APNs has no reason {reason!r}")
        if action.body is not None:
            return Answer(status, [("content-type", action.content_type or "text/plain")], action.body.encode(), reason)
        if status == 200:
            return Answer(200, accepted=True)
        timestamp = action.timestamp_ms
        if timestamp is None and status == 410:
            timestamp = self._now_ms()
        return Answer(status, [_JSON], _reason_body(reason, timestamp), reason)

    def stamped(self, answer: Answer, request: Request) -> Answer:
        """Every answer of APNs carries an apns-id."""
        if any(name == "apns-id" for name, _ in answer.headers):
            return answer
        return msgspec.structs.replace(answer, headers=[*self._ids(request), *answer.headers])

    def goaway_debug(self, goaway: Goaway) -> bytes:
        """APNs explains a GOAWAY in JSON."""
        return msgspec.json.encode({"reason": goaway.reason}) if goaway.reason else b""

    def apply_tokens(self, body: bytes) -> int:
        """Set states of device tokens; one that died without a time died now."""
        return self._tokens.apply(body, self._now_ms())

    def apply_registry(self, body: bytes) -> int:
        """Say which environment and bundle ids device tokens belong to, by prefix."""
        return self._tokens.assign(body)

    def registry(self) -> list[ApnsOwner]:
        """The rules of the registry."""
        return self._tokens.owners()

    def forget_tokens(self) -> None:
        """Forget the states and owners of all device tokens, and the channels."""
        self._tokens.clear()
        self._channels.clear()

    def connection_started(self, connection: Connection, transport: asyncio.Transport) -> None:
        """A connection begins without a provider, or with the one its certificate names."""
        certificate = cast(SSLObject, transport.get_extra_info("ssl_object")).getpeercert(binary_form=True)
        topic = _certificate_topic(certificate) if certificate else None
        self._sessions[connection.connection_id] = ProviderSession(certificate_topic=topic)

    def connection_ended(self, connection_id: int) -> None:
        """Its provider is forgotten."""
        self._sessions.pop(connection_id, None)

    def _prepare(self) -> None:
        super()._prepare()
        pem = keep(self.key_path, _new_p8) if self.key_path is not None else _new_p8()
        key = serialization.load_pem_private_key(pem, password=None)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._desk.register(ProviderKey(key_id=KEY_ID, team_id=TEAM_ID, public_pem=public.decode()))
        self._signing_key = SigningKey(pem.decode(), KEY_ID, TEAM_ID, BUNDLE_ID)

    # Answers

    def _authenticate(self, request: Request, session: ProviderSession) -> str | None:
        if session.certificate_topic is not None:
            request.headers.setdefault("apns-topic", session.certificate_topic)
            session.topics = (session.certificate_topic,)
            return None
        authorization = request.headers.get("authorization")
        if authorization:
            self._journal.credential_seen(authorization)
        return self._desk.check(authorization, session, time.time(), self.clock_offset)

    def _success(self, request: Request) -> Answer:
        return Answer(200, self._ids(request), accepted=True)

    def _refusal(self, request: Request, reason: str) -> Answer:
        status = STATUSES[reason]
        known = self._tokens.get(request.token) if status == 410 else None
        body = _reason_body(reason, known.timestamp_ms if known is not None else None)
        return Answer(status, [*self._ids(request), _JSON], body, reason)

    def _now_ms(self) -> int:
        return int(self.now() * 1000)

    def _ids(self, request: Request) -> list[tuple[str, str]]:
        given = request.headers.get("apns-id")
        headers = [("apns-id", given if given and valid_message_id(given) else str(uuid.uuid4()))]
        if self.environment == "sandbox":
            headers.append(("apns-unique-id", str(uuid.uuid4())))
        return headers


def _reason_body(reason: str, timestamp_ms: int | None) -> bytes:
    if not reason:
        return b""
    body: dict[str, object] = {"reason": reason}
    if timestamp_ms is not None:
        body["timestamp"] = timestamp_ms
    return msgspec.json.encode(body)


def _html(status: int) -> Answer:
    body = f"<html><head><title>{status}</title></head><body><h1>{status} Server Error</h1></body></html>"
    return Answer(status, [("content-type", "text/html; charset=UTF-8")], body.encode())


def _channel_answer(outcome: ChannelAnswer) -> Answer:
    if outcome.reason:
        return Answer(
            STATUSES[outcome.reason], [*outcome.headers, _JSON], _reason_body(outcome.reason, None), outcome.reason
        )
    headers = [*outcome.headers, _JSON] if outcome.body else outcome.headers
    return Answer(outcome.status, headers, outcome.body, accepted=True)


def _new_p8() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _certificate_topic(der: bytes) -> str | None:
    names = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.USER_ID)
    return str(names[0].value) if names else None
