"""The TOCSIN_ variables of the environment that nothing reads: mostly slips of the pen."""

import difflib
from collections.abc import Mapping

from delivery.providers.declared import VARIABLES
from server.settings import DECLARED, PREFIX

_FOREIGN = ("TOCSIN_TEST_", "TOCSIN_BENCH_")  # read by the tests, by the benchmarks
_KNOWN = VARIABLES | {each.variable for each in DECLARED} | {f"{each.variable}_FILE" for each in DECLARED}


def unknown(environ: Mapping[str, str]) -> list[str]:
    """Name the TOCSIN_ variables that no setting and no credential has, each with the nearest one that exists."""
    warnings = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in _KNOWN and not name.startswith(_FOREIGN):
            near = difflib.get_close_matches(name, sorted(_KNOWN), n=1)
            warnings.append(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
    return warnings
