"""Loads the named queries of `sql/*.sql`.

A file holds queries, each under a line `-- name: plan_topic_page`; comments after that line belong to the query's
reader. `-- include: fragment` puts a fragment of the same file (a query whose name begins with an underscore) in
its place, so that a tail several statements share is written once.
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

_NAME = re.compile(r"^-- name: (\w+)[ \t]*$", re.MULTILINE)
_INCLUDE = re.compile(r"^[ \t]*-- include: (\w+)[ \t]*$", re.MULTILINE)


class Queries:
    """The queries of one subject, by attribute: `load("devices").register` is the statement's text in bytes.

    Raises AttributeError for a name that the file does not hold.
    """

    def __init__(self, subject: str, text: str) -> None:
        self._subject = subject
        parts = _NAME.split(text)
        fragments = dict(zip(parts[1::2], parts[2::2], strict=True))

        def included(match: re.Match[str]) -> str:
            return _INCLUDE.sub(included, fragments[match[1]].strip("\n"))

        self._statements = {
            name: _INCLUDE.sub(included, body).strip().encode()
            for name, body in fragments.items()
            if not name.startswith("_")
        }

    def __getattr__(self, name: str) -> bytes:
        """Return the statement of that name."""
        try:
            return self._statements[name]
        except KeyError:
            raise AttributeError(f"sql/{self._subject}.sql has no query named {name}") from None

    def statements(self) -> Mapping[str, bytes]:
        """All statements by name, for the test that prepares every one of them."""
        return MappingProxyType(self._statements)


def load(subject: str) -> Queries:
    """Read `sql/<subject>.sql`."""
    return Queries(subject, (files("sql") / f"{subject}.sql").read_text(encoding="utf-8"))
