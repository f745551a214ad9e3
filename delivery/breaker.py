"""Notices when a credential's answers say that the credential is wrong, not the tokens.

A key of the wrong environment, bundle or project makes the push service refuse every token. One reason of this class
in more than a fifth of recent answers (providers.md section 8) stops the credential; what was refused until then is
marked `failing`, never `dead`, and comes back when the credential is changed. Answers that a token is gone are about
the token; but when most tokens are gone, that stops the credential as well: it may be a project or an app that is gone.
"""

from collections import Counter

from delivery.batches import Results
from delivery.outcomes import Kind, Outcome

_LEAST_REFUSED = 20
_SHARE = 0.2
_MEMORY = 2000  # answers; older ones count half as much each time this many have come

_LEAST_GONE = 100  # an old list of tokens is no mistake: more, and a larger share, must be gone

# An answer that a token is gone, and since when, is about the token. Any other "dead" may be about us.
_ABOUT_THE_TOKEN = frozenset({404, 410})


def is_suspicious(outcome: Outcome) -> bool:
    """Whether this answer may be the fault of the credential: a wrong app, environment or project."""
    return outcome.kind is Kind.DEAD and outcome.status not in _ABOUT_THE_TOKEN


class Breaker:
    """The recent answers of one credential; `gone_share` of them may say that the token is gone, 1.0 = all."""

    def __init__(self, gone_share: float = 0.5) -> None:
        self._gone_share = gone_share
        self._answers = 0.0
        self._refused: Counter[str] = Counter()
        self._gone: Counter[str] = Counter()

    def observe(self, results: Results) -> str | None:
        """Count a batch's answers; the reason that trips the breaker, or None. Tripping forgets what was counted."""
        self._answers += len(results.batch.tokens) - sum(not o.status for o in results.exceptions.values())
        for outcome in results.exceptions.values():
            if outcome.kind is Kind.DEAD:
                (self._refused if is_suspicious(outcome) else self._gone)[outcome.reason] += 1
        reason = self._jump(self._refused, _LEAST_REFUSED, _SHARE) or self._jump(
            self._gone, _LEAST_GONE, self._gone_share
        )
        if reason is None:
            self._fade()
        else:
            self.reset()
        return reason

    def _jump(self, counts: Counter[str], least: int, share: float) -> str | None:
        if not counts:
            return None
        reason, count = counts.most_common(1)[0]
        return reason if count >= least and count > share * self._answers else None

    def reset(self) -> None:
        """Begin anew."""
        self._answers = 0.0
        self._refused.clear()
        self._gone.clear()

    def _fade(self) -> None:
        if self._answers > _MEMORY:
            self._answers /= 2
            self._refused = _halved(self._refused)
            self._gone = _halved(self._gone)


def _halved(counts: Counter[str]) -> Counter[str]:
    return Counter({reason: count // 2 for reason, count in counts.items() if count > 1})
