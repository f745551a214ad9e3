"""What the push services say of their clients after a run: whether they spoke the protocol, and took nothing twice."""

from typing import Any

from tests.chaos.evidence import Finding

_NEVER = ("protocol_errors", "streams_over_limit", "undecryptable")
CUT_SHORT = "RemoteProtocolError: peer closed connection without sending complete message body"


def check_services(counters: dict[str, dict[str, Any]]) -> list[Finding]:
    """Findings from the counters of each push service, by its name."""
    found = []
    for service, counted in counters.items():
        names = (*_NEVER, "duplicate_deliveries") if service.startswith("apns") else _NEVER
        for name in names:
            if counted.get(name) and not (name == "protocol_errors" and _all_cut_short(counted)):
                text = f"{service} counted {counted[name]} {name} {counted['newest_protocol_errors'][:3]}"
                found.append(Finding("unexplained", "", text))
    return found


def _all_cut_short(counted: dict[str, Any]) -> bool:
    """Whether all that was wrong were requests over HTTP/1.1 that end in the middle, as those of a killed sender do."""
    return all(each.startswith(CUT_SHORT) for each in counted["newest_protocol_errors"])
