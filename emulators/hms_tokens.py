"""What the emulated HMS knows of device tokens: which are illegal, and to which app each belongs."""

from collections.abc import Iterable
from typing import Literal

import msgspec

MAX_OWNERS = 1000
MAX_TOKEN_LENGTH = 512


class HmsToken(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One line of `POST /tokens`. Only these apps may send to it (None: any); a token of another app is illegal."""

    state: Literal["ok", "illegal"] = "ok"
    app_ids: tuple[str, ...] | None = None


class HmsOwner(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One rule of `POST /registry`: the same about all tokens with this prefix."""

    token_prefix: str
    state: Literal["ok", "illegal"] = "ok"
    app_ids: tuple[str, ...] | None = None


class HmsTokens:
    """States of single tokens, else of the first prefix that fits; those not named are good and anybody's."""

    def __init__(self) -> None:
        self._states: dict[str, HmsToken] = {}
        self._owners: list[HmsOwner] = []

    def apply(self, body: bytes) -> int:
        """Set states from JSON `{token: {"state": …}}`; the number of them."""
        states = msgspec.json.decode(body, type=dict[str, HmsToken])
        self._states.update(states)
        return len(states)

    def assign(self, body: bytes) -> int:
        """Replace the owners from a JSON list of rules; the number of them. ValueError above 1000."""
        owners = msgspec.json.decode(body, type=list[HmsOwner])
        if len(owners) > MAX_OWNERS:
            raise ValueError(f"at most {MAX_OWNERS} rules")
        self._owners = owners
        return len(owners)

    def owners(self) -> list[HmsOwner]:
        """The rules in force."""
        return list(self._owners)

    def clear(self) -> None:
        """All tokens are good again, and anybody's."""
        self._states.clear()
        self._owners.clear()

    def illegal(self, tokens: Iterable[str], app_id: str) -> set[str]:
        """Those of the tokens that this app cannot send to."""
        return {token for token in tokens if not self._is_good(token, app_id)}

    def _is_good(self, token: str, app_id: str) -> bool:
        if not token or len(token) > MAX_TOKEN_LENGTH or token != token.strip():
            return False
        known = self._states.get(token) or next((o for o in self._owners if token.startswith(o.token_prefix)), None)
        if known is None:
            return True
        return known.state == "ok" and (known.app_ids is None or app_id in known.app_ids)
