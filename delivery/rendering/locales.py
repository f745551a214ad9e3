"""Which localization a device gets: the lookup of RFC 4647, section 3.4, for each name by itself."""

from collections.abc import Mapping

_DEFAULTS = ("default", "")
_MOST_REMEMBERED = 1_000


def fallbacks(locale: str) -> list[str]:
    """The locale and what to look under after it, most specific first: zh-Hant-HK, zh-Hant, zh.

    `_` counts as `-`. A single letter goes together with what it introduces (RFC 4647, 3.4): en-x-work, en.
    """
    tags: list[str] = []
    subtags = locale.replace("_", "-").split("-")
    while subtags and subtags != [""]:
        tags.append("-".join(subtags))
        subtags.pop()
        while subtags and len(subtags[-1]) <= 1:
            subtags.pop()
    return tags


class Localizations:
    """The translations of a push by locale, and what a device of any locale gets of them.

    The entry for "" or "default" serves every locale, after all others. Letter case and `_` for `-` make no
    difference: two entries for one locale are one, in which the later says what both say.
    """

    def __init__(self, given: Mapping[str, Mapping[str, str]]) -> None:
        self._given: dict[str, dict[str, str]] = {}
        for locale, texts in given.items():
            self._given.setdefault(_folded(locale), {}).update(texts)
        self._default = {name: text for tag in _DEFAULTS for name, text in self._given.get(tag, {}).items()}
        self._resolved: dict[str, Mapping[str, str]] = {}
        self._remembered: dict[str, Mapping[str, str]] = {}

    def resolve(self, locale: str) -> Mapping[str, str]:
        """The translations for this locale: each name as the most specific entry that has it says it.

        There are at most as many different mappings as localizations given and one; locales that fall back to the
        same localization share one.
        """
        known = self._remembered.get(locale)
        if known is None:
            tags = [tag for tag in fallbacks(_folded(locale)) if tag in self._given]
            known = self._resolved.get(tags[0] if tags else "")
            if known is None:
                known = self._resolved[tags[0] if tags else ""] = self._merged(tags)
            if len(self._remembered) < _MOST_REMEMBERED:
                self._remembered[locale] = known
        return known

    def _merged(self, tags: list[str]) -> Mapping[str, str]:
        merged = dict(self._default)
        for tag in reversed(tags):
            merged.update(self._given[tag])
        return merged


def _folded(locale: str) -> str:
    return locale.replace("_", "-").lower()
