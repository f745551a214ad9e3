"""What the emulated FCM knows of registrations: which are dead, wrong, foreign or throttled."""

from typing import Literal

import msgspec

from emulators.exchange import Answer
from emulators.fcm_errors import FieldViolation, error_answer, invalid

DEVICE_RETRY_SECONDS = 60


class FcmToken(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is known of a registration: one line of `POST /tokens`."""

    state: Literal[
        "ok", "unregistered", "invalid", "sender_id_mismatch", "third_party_auth_error", "quota_exceeded"
    ] = "ok"


class FcmTokens:
    """States of registrations by token (or FID); those not named are alive."""

    def __init__(self) -> None:
        self._states: dict[str, FcmToken] = {}

    def apply(self, body: bytes) -> int:
        """Set states from JSON `{token: {"state": …}}`; the number of them."""
        states = msgspec.json.decode(body, type=dict[str, FcmToken])
        self._states.update(states)
        return len(states)

    def clear(self) -> None:
        """Everything is alive again."""
        self._states.clear()

    def is_dead(self, token: str) -> bool:
        """Whether the registration is gone."""
        known = self._states.get(token)
        return known is not None and known.state == "unregistered"

    def refusal(self, token: str) -> Answer | None:
        """The answer to a send to this registration, None when it is fine."""
        known = self._states.get(token)
        if known is None or known.state == "ok":
            return None
        if known.state == "invalid":
            text = "The registration token is not a valid FCM registration token"
            return invalid([FieldViolation("message.token", text)])
        if known.state == "quota_exceeded":
            return error_answer("QUOTA_EXCEEDED", quota="device", retry_after=DEVICE_RETRY_SECONDS)
        return error_answer(known.state.upper())
