"""What became of subscriptions of the emulated push service: which are gone, and which are throttled."""

from typing import Literal

import msgspec

from emulators.webpush_errors import Refusal
from emulators.webpush_subscriptions import PATH

MAX_OWNERS = 1000
State = Literal["ok", "gone", "unknown", "throttled"]


class WebpushToken(msgspec.Struct, forbid_unknown_fields=True):
    """One line of `POST /tokens`: `gone` is answered with 410, `unknown` with 404, `throttled` with 429 (406)."""

    state: State = "ok"


class WebpushOwner(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One rule of `POST /registry`: what became of subscriptions whose name begins like this."""

    token_prefix: str
    state: State


class WebpushTokens:
    """States of subscriptions by endpoint or by name (the endpoint's last part), and by what names begin with."""

    def __init__(self) -> None:
        self._states: dict[str, WebpushToken] = {}
        self._owners: list[WebpushOwner] = []

    def apply(self, body: bytes) -> int:
        """Set states from JSON `{endpoint or name: {"state": …}}`; the number of them."""
        states = msgspec.json.decode(body, type=dict[str, WebpushToken])
        self._states.update({name_of(each): state for each, state in states.items()})
        return len(states)

    def assign(self, body: bytes) -> int:
        """Replace the rules from a JSON list; the number of them. ValueError above 1000."""
        owners = msgspec.json.decode(body, type=list[WebpushOwner])
        if len(owners) > MAX_OWNERS:
            raise ValueError(f"at most {MAX_OWNERS} rules")
        self._owners = owners
        return len(owners)

    def owners(self) -> list[WebpushOwner]:
        """The rules in force."""
        return list(self._owners)

    def clear(self) -> None:
        """All subscriptions are alive again."""
        self._states.clear()
        self._owners.clear()

    def refusal(self, name: str) -> Refusal | None:
        """Why nothing is taken for this subscription; None when it is alive."""
        known = self._states.get(name) or next(
            (rule for rule in self._owners if name.startswith(rule.token_prefix)), None
        )
        if known is None or known.state == "ok":
            return None
        return Refusal(known.state, f"the subscription is {known.state}")


def name_of(endpoint: str) -> str:
    """The name of the subscription in an endpoint, a path or in itself."""
    return endpoint.rpartition(PATH)[2]
