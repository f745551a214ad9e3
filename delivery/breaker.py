"""Notices when a credential's answers say that the credential is wrong, not the tokens.

A key of the wrong environment, bundle or project makes the push service refuse every token. One reason of this class
in more than a fifth of recent answers (providers.md section 8) stops the credential; what was refused until then is
marked `failing`, never `dead`, and comes back when the credential is changed.
"""

from collections import Counter

from delivery.batches import Results
from delivery.outcomes import Kind, Outcome

_LEAST_REFUSED = 20
_SHARE = 0.2
_MEMORY = 2000  # answers; older ones count half as much each time this many have come

# An answer that a token is gone, and since when, is about the token. Any other "dead" may be about us.
_ABOUT_THE_TOKEN = frozenset({404, 410})
_WRONG_APP = frozenset({"DeviceTokenNotForTopic"})


def is_suspicious(outcome: Outcome) -> bool:
    """Whether this answer may be the fault of the credential: a wrong app, environment or project."""
    if outcome.kind is Kind.DEAD:
        return outcome.status not in _ABOUT_THE_TOKEN
    return outcome.kind is Kind.FAILED and outcome.reason in _WRONG_APP


class Breaker:
    """The recent answers of one credential."""

    def __init__(self) -> None:
        self._answers = 0.0
        self._refused: Counter[str] = Counter()

    def observe(self, results: Results) -> str | None:
        """Count a batch's answers; the reason that trips the breaker, or None. Tripping forgets what was counted."""
        self._answers += len(results.batch.tokens) - sum(not o.status for o in results.exceptions.values())
        self._refused.update(o.reason for o in results.exceptions.values() if is_suspicious(o))
        if not self._refused:
            self._fade()
            return None
        reason, count = self._refused.most_common(1)[0]
        if count >= _LEAST_REFUSED and count > _SHARE * self._answers:
            self.reset()
            return reason
        self._fade()
        return None

    def reset(self) -> None:
        """Begin anew."""
        self._answers = 0.0
        self._refused.clear()

    def _fade(self) -> None:
        if self._answers > _MEMORY:
            self._answers /= 2
            self._refused = Counter({reason: count // 2 for reason, count in self._refused.items() if count > 1})
