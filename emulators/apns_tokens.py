"""What the emulated APNs knows of device tokens: which are dead, and to which environment and apps each belongs."""

from typing import Literal

import msgspec

MAX_OWNERS = 1000


class ApnsToken(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What the emulated APNs knows of a device token: one line of `POST /tokens`.

    `state` `unregistered` and `expired` answer 410 with `timestamp_ms` (now, when absent); `bad` 400 BadDeviceToken;
    `not_for_topic` 400 DeviceTokenNotForTopic; `throttled` 429 TooManyRequests. A token of the other `environment` is a
    BadDeviceToken, a topic outside `topics` (without suffix) is DeviceTokenNotForTopic.
    """

    state: Literal["ok", "unregistered", "expired", "bad", "not_for_topic", "throttled"] = "ok"
    timestamp_ms: int | None = None
    environment: Literal["production", "sandbox"] | None = None
    topics: tuple[str, ...] | None = None


class ApnsOwner(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One rule of `POST /registry`: tokens with this prefix were given out in this environment, to these bundle ids."""

    token_prefix: str
    environment: Literal["production", "sandbox"] | None = None
    topics: tuple[str, ...] | None = None


class ApnsTokens:
    """States of single tokens, and owners by prefix: the first rule that fits, where the token's own line is silent."""

    def __init__(self) -> None:
        self._tokens: dict[str, ApnsToken] = {}
        self._owners: list[ApnsOwner] = []

    def apply(self, body: bytes, now_ms: int) -> int:
        """Set states from JSON `{token: {"state": …}}`; the number of them. One that died without a time died now."""
        states = msgspec.json.decode(body, type=dict[str, ApnsToken])
        for token, state in states.items():
            if state.timestamp_ms is None:
                state.timestamp_ms = now_ms
            self._tokens[token.lower()] = state
        return len(states)

    def assign(self, body: bytes) -> int:
        """Replace the owners from a JSON list of rules; the number of them. ValueError above 1000."""
        owners = msgspec.json.decode(body, type=list[ApnsOwner])
        if len(owners) > MAX_OWNERS:
            raise ValueError(f"at most {MAX_OWNERS} rules")
        self._owners = [msgspec.structs.replace(each, token_prefix=each.token_prefix.lower()) for each in owners]
        return len(owners)

    def owners(self) -> list[ApnsOwner]:
        """The rules in force."""
        return list(self._owners)

    def clear(self) -> None:
        """Forget states and owners."""
        self._tokens.clear()
        self._owners.clear()

    def get(self, token: str) -> ApnsToken | None:
        """What is known of a token; None when nothing is."""
        known = self._tokens.get(token)
        owner = next((rule for rule in self._owners if token.startswith(rule.token_prefix)), None)
        if owner is None:
            return known
        if known is None:
            return ApnsToken(environment=owner.environment, topics=owner.topics)
        return msgspec.structs.replace(
            known,
            environment=known.environment or owner.environment,
            topics=owner.topics if known.topics is None else known.topics,
        )
