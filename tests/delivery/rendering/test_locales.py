"""Which localization a device gets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.rendering.locales import Localizations, fallbacks


@pytest.mark.parametrize(
    ("locale", "looked_up"),
    [
        ("zh-Hant-HK", ["zh-Hant-HK", "zh-Hant", "zh"]),
        ("pt_BR", ["pt-BR", "pt"]),
        ("de", ["de"]),
        ("", []),
        ("en-x-work", ["en-x-work", "en"]),
        ("zh-Hant-CN-x-private1-private2", ["zh-Hant-CN-x-private1-private2", "zh-Hant-CN-x-private1", "zh-Hant-CN"]),
    ],
)
def test_a_locale_falls_back_by_its_parts(locale: str, looked_up: list[str]) -> None:
    assert fallbacks(locale)[: max(len(looked_up), 1)] == looked_up


@settings(deadline=None)
@given(st.text("aB-_1", max_size=30))
def test_every_fallback_is_a_shorter_beginning(locale: str) -> None:
    tags = fallbacks(locale)
    assert all(locale.replace("_", "-").startswith(tag) for tag in tags)
    assert sorted(tags, key=len, reverse=True) == tags
    assert len(set(tags)) == len(tags)


def test_each_name_comes_from_the_most_specific_entry_that_has_it() -> None:
    localizations = Localizations(
        {
            "": {"a": "any a", "b": "any b", "c": "any c"},
            "pt": {"a": "pt a", "b": "pt b"},
            "pt-BR": {"a": ""},
        }
    )
    assert localizations.resolve("pt-BR") == {"a": "", "b": "pt b", "c": "any c"}
    assert localizations.resolve("pt-PT") == {"a": "pt a", "b": "pt b", "c": "any c"}
    assert localizations.resolve("fi") == {"a": "any a", "b": "any b", "c": "any c"}
    assert localizations.resolve("") == localizations.resolve("fi")


def test_case_and_underscores_do_not_matter() -> None:
    localizations = Localizations({"PT_br": {"a": "1"}, "pt-BR": {"b": "2"}})
    assert localizations.resolve("pt-br") == localizations.resolve("Pt_BR") == {"a": "1", "b": "2"}


def test_the_default_entry_may_be_called_default() -> None:
    localizations = Localizations({"default": {"a": "1", "b": "1"}, "": {"b": "2"}})
    assert localizations.resolve("en-GB") == {"a": "1", "b": "2"}


def test_a_locale_without_an_entry_has_no_texts() -> None:
    assert Localizations({"en": {"a": "1"}}).resolve("fr-CA") == {}
    assert Localizations({"en-GB": {"a": "1"}}).resolve("en") == {}


def test_locales_with_the_same_localization_share_it() -> None:
    localizations = Localizations({"en": {"a": "1"}, "pt": {"a": "2"}})
    resolved = {
        id(localizations.resolve(f"{language}-{region}")) for language in ("en", "pt", "fi") for region in range(2000)
    }
    assert len(resolved) == 3
