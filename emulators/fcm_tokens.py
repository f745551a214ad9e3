"""What the emulated FCM knows of registrations: which are dead, wrong, foreign or throttled."""

from typing import Literal

import msgspec

from emulators.exchange import Answer
from emulators.fcm_errors import FieldViolation, error_answer, invalid

DEVICE_RETRY_SECONDS = 60
MAX_OWNERS = 1000


class FcmToken(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is known of a registration: one line of `POST /tokens`. Only `projects` may send to it (None: any)."""

    state: Literal[
        "ok", "unregistered", "invalid", "sender_id_mismatch", "third_party_auth_error", "quota_exceeded"
    ] = "ok"
    projects: tuple[str, ...] | None = None


class FcmOwner(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One rule of `POST /registry`: only these projects may send to registrations with this prefix."""

    token_prefix: str
    projects: tuple[str, ...]


class FcmTokens:
    """States of registrations by token (or FID), and owners by prefix; those not named are alive and anybody's."""

    def __init__(self) -> None:
        self._states: dict[str, FcmToken] = {}
        self._owners: list[FcmOwner] = []

    def apply(self, body: bytes) -> int:
        """Set states from JSON `{token: {"state": …}}`; the number of them."""
        states = msgspec.json.decode(body, type=dict[str, FcmToken])
        self._states.update(states)
        return len(states)

    def assign(self, body: bytes) -> int:
        """Replace the owners from a JSON list of rules; the number of them. ValueError above 1000."""
        owners = msgspec.json.decode(body, type=list[FcmOwner])
        if len(owners) > MAX_OWNERS:
            raise ValueError(f"at most {MAX_OWNERS} rules")
        self._owners = owners
        return len(owners)

    def owners(self) -> list[FcmOwner]:
        """The rules in force."""
        return list(self._owners)

    def clear(self) -> None:
        """Everything is alive again, and anybody's."""
        self._states.clear()
        self._owners.clear()

    def is_dead(self, token: str) -> bool:
        """Whether the registration is gone."""
        known = self._states.get(token)
        return known is not None and known.state == "unregistered"

    def refusal(self, token: str, project: str) -> Answer | None:
        """The answer to a send by this project to this registration, None when it is fine."""
        known = self._states.get(token)
        if self._is_foreign(token, project, known):
            return error_answer("SENDER_ID_MISMATCH")
        if known is None or known.state == "ok":
            return None
        if known.state == "invalid":
            text = "The registration token is not a valid FCM registration token"
            return invalid([FieldViolation("message.token", text)])
        if known.state == "quota_exceeded":
            return error_answer("QUOTA_EXCEEDED", quota="device", retry_after=DEVICE_RETRY_SECONDS)
        return error_answer(known.state.upper())

    def _is_foreign(self, token: str, project: str, known: FcmToken | None) -> bool:
        if known is not None and known.projects is not None:
            return project not in known.projects
        owner = next((rule for rule in self._owners if token.startswith(rule.token_prefix)), None)
        return owner is not None and project not in owner.projects
