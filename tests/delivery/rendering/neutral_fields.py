"""Neutral notifications that hypothesis makes up: any that can be read, and those of them that `check` passes."""

from typing import Any

import msgspec
from hypothesis import strategies as st

from delivery.rendering.neutral import MAX_BADGE, Neutral, NeutralError, Sound, check

_TEXT = st.text(max_size=40)
_NAMES = st.sampled_from(["order", "url", "title", "image", "aps", "from", "google.x", ""]) | st.text(max_size=10)
_URLS = st.sampled_from(["https://example.com/a?b=c#d", "http://example.com", "myapp://open/7", "mailto:a@b.c", "/no"])
_PAGES = st.sampled_from(["https://example.com/a?b=c#d", "https://example.com"])
_SOUNDS = st.builds(Sound, st.none() | _TEXT, st.none() | st.booleans(), st.none() | st.floats(0, 1))

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "title": _TEXT,
    "subtitle": _TEXT,
    "body": _TEXT,
    "sound": _TEXT | _SOUNDS,
    "badge": st.integers(0, MAX_BADGE) | st.just("auto"),
    "image": _URLS | _TEXT,
    "data": st.dictionaries(_NAMES, _TEXT, max_size=4),
    "url": _URLS | _TEXT,
    "category": _TEXT,
    "thread_id": _TEXT,
    "collapse_key": _TEXT,
    "ttl": st.integers(0, 10**12) | st.integers(0),
    "priority": st.sampled_from(["high", "normal"]),
    "background": st.booleans(),
    "mutable": st.booleans(),
}
"""What each field can be; every field can be absent as well."""


def encoded(fields: dict[str, object]) -> dict[str, msgspec.Raw]:
    """The fields as a request brings them."""
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}


def passes(neutral: Neutral) -> bool:
    """Whether `check` has nothing against it."""
    try:
        check(neutral)
    except NeutralError:
        return False
    return True


read_ones = st.builds(Neutral, **{name: st.none() | values for name, values in FIELDS.items()})


def _ones(required: dict[str, st.SearchStrategy[Any]], *without: str) -> st.SearchStrategy[Neutral]:
    optional = {name: values for name, values in _SENDABLE.items() if name not in (*required, *without)}
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: Neutral(**fields))


_SENDABLE = FIELDS | {"image": _PAGES, "url": _PAGES, "data": st.dictionaries(st.text("abc", min_size=1), _TEXT)}
_SHOWN_BY_TEXT = ("title", "subtitle", "body", "image", "mutable")
_SHOWN = (*_SHOWN_BY_TEXT, "sound", "badge")

checked_ones = (
    _ones({"title": st.text(min_size=1, max_size=40)}, "background")
    | _ones({"background": st.just(True)}, *_SHOWN, "priority")
    | _ones({"data": st.dictionaries(_NAMES, _TEXT, min_size=1, max_size=4)}, *_SHOWN_BY_TEXT, "background")
).filter(passes)
"""Texts, background pushes, and what has neither."""
