"""The language between the braces: what it accepts in both spellings, and how it says what is wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.rendering.expressions import MOST_CHARACTERS, Expression, TemplateError, pieces
from delivery.rendering.values import Values

VALUES = Values(
    device_id="d-1",
    device_user="ann",
    meta={"name": "Ann", "a b": "spaced", "empty": "", 'q"': "quoted", "ключ": "key"},
    l10n={"x": "text", "404": "lost", "padded": "  Hi  "},
    push_uid="p-1",
    receipt_token="r-1",
    vars={"n": 3, "big": 10**30, "f": 1.5, "yes": True, "no": False, "nothing": None, "s": "str", "zero": 0},
)
# Words of the language, so that random texts get past the first character.
WORDS = ["{{", "}}", "{{-", "-}}", "|", "(", ")", "[", "]", "[[", "]]", "'", '"', "`", "\\", ".", "-", " ", "/*", "*/"]
WORDS += ["device", ".device.meta.x", "l10n.x", "vars", "default", "index", "truncate", "upper", "7", "\n", "é", "\x00"]


def rendered(text: str, values: Values = VALUES) -> str:
    said = [piece.read(values) if isinstance(piece, Expression) else piece for piece in pieces(text)]
    assert None not in said, f"no value in {text}"
    return "".join(piece or "" for piece in said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ device.id }}", "d-1"),
        ("{{device.user}}", "ann"),
        ("{{ device.meta.name }}", "Ann"),
        ("{{ device.meta.empty }}", ""),
        ("{{ device.meta.ключ }}", "key"),
        ("{{ device.meta['a b'] }}", "spaced"),
        ('{{ device.meta[ "q\\"" ] }}', "quoted"),
        ("{{ device['meta'].name }}", "Ann"),
        ("{{ l10n.x }}", "text"),
        ("{{ l10n.404 }}", "lost"),
        ("{{ push.uid }}", "p-1"),
        ("{{ receipt_token }}", "r-1"),
        ("{{ vars.n }} {{ vars.f }} {{ vars.yes }} {{ vars.no }} {{ vars.s }}", "3 1.5 true false str"),
        ("{{ vars.big }}", str(10**30)),
        ("{{\n\tl10n.x\r\n}}", "text"),
        ("a {{ l10n.x }} b {{ l10n.x }}{{ l10n.x }} c", "a text b texttext c"),
    ],
)
def test_a_variable_says_its_value(text: str, said: str) -> None:
    assert rendered(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ l10n.none | default('a') }}", "a"),
        ("{{ device.meta.empty | default('a') }}", "a"),
        ("{{ vars.nothing | default('a') }}", "a"),
        ("{{ vars.zero | default('a') }}", "0"),
        ("{{ l10n.x | default('a') }}", "text"),
        ("{{ l10n.none | default('') }}", ""),
        ("{{ l10n.none | default(0) }}", "0"),
        ("{{ l10n.none | default(-1.5) }}", "-1.5"),
        ("{{ l10n.none | default(device.meta.name) }}", "Ann"),
        ("{{ l10n.none | default(device.meta.none) | default('c') }}", "c"),
        ("{{ l10n.none | upper | default('a') }}", "a"),
        ("{{ l10n.none | default('a') | upper }}", "A"),
        ("{{ device.meta.name|lower }}", "ann"),
        ("{{ l10n.padded | trim }}", "Hi"),
        ("{{ l10n.x | truncate(2) }}", "te"),
        ("{{ l10n.x | truncate(99) }}", "text"),
        ("{{ l10n.x | upper() }}", "TEXT"),
    ],
)
def test_a_filter_changes_what_is_before_it(text: str, said: str) -> None:
    assert rendered(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ .device.id }}", "d-1"),
        ("{{.device.meta.name}}", "Ann"),
        ("{{.l10n.x}}", "text"),
        ("{{ .receipt_token }}", "r-1"),
        ("{{default [[some text]] .l10n.none}}", "some text"),
        ("{{default [[some text]] .l10n.x}}", "text"),
        ('{{default "a \\"b\\"" .l10n.none}}', 'a "b"'),
        ("{{default `a \\n` .l10n.none}}", "a \\n"),
        ("{{ default .l10n.x .l10n.none }}", "text"),
        ('{{ .l10n.none | default "a" }}', "a"),
        ('{{ .l10n.none | default "a" | upper }}', "A"),
        ('{{ default "a" .l10n.none | upper }}', "A"),
        ("{{ .l10n.x | truncate 2 }}", "te"),
        ("{{ truncate 2 .l10n.x }}", "te"),
        ("{{ upper .l10n.x }}", "TEXT"),
        ('{{ index .device.meta "a b" }}', "spaced"),
        ('{{ index .device "meta" "a b" | upper }}', "SPACED"),
        ("{{ index .l10n [[x]] }}", "text"),
        ('{{ .l10n.none | default("a") }}', "a"),
        ('{{ l10n.none | default "a" }}', "a"),
    ],
)
def test_the_spelling_of_go_means_the_same(text: str, said: str) -> None:
    assert rendered(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a {{- l10n.x }} b", "atext b"),
        ("a {{ l10n.x -}} b", "a textb"),
        ("a\n{{-l10n.x-}}\tb", "atextb"),
        ("{{ l10n.padded -}} | {{- l10n.x }}", "  Hi  |text"),
        ("a {{/* {{ }} */}} b", "a  b"),
        ("a {{- /* note */ -}} b", "ab"),
        ("{{ l10n.x -}}   {{- l10n.x }}", "texttext"),
    ],
)
def test_dashes_trim_the_text_outside_and_comments_say_nothing(text: str, said: str) -> None:
    assert rendered(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ '{{' }}", "{{"),
        ("{{ '}}' }}", "}}"),
        ("{{ `{{ device.id }}` }}", "{{ device.id }}"),
        ("{{ 'it\\'s \\u00e9\\t\\\\' }}", "it's é\t\\"),
        ("{{ [[a]b]] }}", "a]b"),
        ("{{ 7 }}", "7"),
        ("{ } }} {a}", "{ } }} {a}"),
        ("{{ l10n.x }}}", "text}"),
        ("{{ '' }}", ""),
    ],
)
def test_a_literal_is_its_own_text(text: str, said: str) -> None:
    assert rendered(text) == said


@pytest.mark.parametrize(
    ("text", "position", "detail"),
    [
        ("{{", 1, "'{{' is never closed"),
        ("é {{ device.id ", 3, "'{{' is never closed"),
        ("{{}}", 3, "an empty expression"),
        ("ab {{ - }}", 7, "unexpected '-'"),
        ("{{ device.id } }}", 14, "unexpected '}'"),
        ("{{{ device.id }}", 3, "unexpected '{'"),
        ("{{ foo.bar }}", 4, "unknown variable 'foo.bar'"),
        ("{{ foo }}", 4, "unknown variable 'foo'"),
        ("{{ .upper }}", 4, "unknown variable 'upper'"),
        ("{{ device.id.x }}", 4, "unknown variable 'device.id.x'"),
        ("{{ device.meta }}", 4, "unknown variable 'device.meta'"),
        ("{{ device.meta.a.b }}", 4, "unknown variable 'device.meta.a.b'"),
        ("{{ device.__class__ }}", 4, "unknown variable 'device.__class__'"),
        ("{{ foo l10n.x }}", 4, "unknown function 'foo'"),
        ("{{ range .l10n.x }}", 4, "unknown function 'range'"),
        ("{{ l10n.x | foo }}", 13, "unknown function 'foo'"),
        ("{{ l10n.x | .upper }}", 13, "a function is expected"),
        ("{{ l10n.x | 'a' }}", 13, "a function is expected"),
        ("{{ l10n.x | }}", 4, "nothing on one side"),
        ("{{ | upper }}", 4, "nothing on one side"),
        ("{{ l10n.x l10n.y }}", 11, "unexpected 'l10n.y'"),
        ("{{ l10n.x() }}", 10, "unexpected '('"),
        ("{{ upper(l10n.x) }}", 16, "unexpected ')'"),
        ("{{ l10n.x | default }}", 13, "default takes one argument"),
        ("{{ l10n.x | default('a', 'b') }}", 24, "unexpected ','"),
        ("{{ l10n.x | default 'a' 'b' }}", 13, "default takes one argument"),
        ("{{ l10n.x | default(() }}", 21, "unexpected '('"),
        ("{{ l10n.x | upper 'a' }}", 19, "upper takes nothing"),
        ("{{ l10n.x | truncate('2') }}", 22, "truncate takes a whole number"),
        ("{{ l10n.x | truncate(-2) }}", 22, "truncate takes a whole number"),
        ("{{ upper }}", 4, "upper of nothing"),
        ("{{ index .device.meta }}", 4, "index takes a map"),
        ("{{ index .device.meta .l10n.x }}", 4, "index takes a map"),
        ("{{ .device.meta | index 'a' }}", 4, "unknown variable 'device.meta'"),
        ("{{ l10n.x | index 'a' }}", 13, "index comes first"),
        ("{{ 'a }}", 4, "a text is never closed"),
        ("{{ [[a }}", 4, "a text is never closed"),
        ("{{ '\\q' }}", 4, "unknown escape"),
        ("{{ device.meta['\\q'] }}", 4, "unknown escape"),
        ("{{ /* a }}", 4, "a comment is never closed"),
        ("{{ l10n.x" + " | trim" * 16 + " }}", 4, "more than 16 functions"),
        ("ab{{ l10n.x" + " " * MOST_CHARACTERS + "}}", 3, "an expression of more than 2,000 characters"),
        ("{{ " + "x" * 100 + " }}", 4, f"unknown variable '{'x' * 40}…'"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, position: int, detail: str) -> None:
    with pytest.raises(TemplateError) as caught:
        list(pieces(text))
    assert detail in caught.value.detail
    assert caught.value.position == position
    assert f"at character {position}" in caught.value.detail


def test_an_expression_of_2000_characters_is_accepted_and_of_one_more_is_not() -> None:
    assert rendered("{{ l10n.x" + " " * (MOST_CHARACTERS - 11) + "}}") == "text"
    with pytest.raises(TemplateError):
        rendered("{{ l10n.x" + " " * (MOST_CHARACTERS - 10) + "}}")


def test_a_value_that_is_not_there_is_none() -> None:
    names = ["device.id", "device.user", "device.meta.x", "l10n.x", "push.uid", "receipt_token", "vars.x"]
    for name in names:
        (expression,) = [piece for piece in pieces(f"{{{{ {name} | upper }}}}") if isinstance(piece, Expression)]
        assert expression.read(Values()) is None
        assert [variable.name for variable in expression.variables] == [name]


def test_the_values_show_neither_token_nor_meta() -> None:
    assert repr(VALUES) == "Values(device_id='d-1', push_uid='p-1')"


@settings(deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS)).map("".join)), st.booleans())
def test_any_text_is_read_or_refused_as_a_template(text: str, inside: bool) -> None:
    templated = f"{{{{{text}}}}}" if inside else text
    try:
        found = list(pieces(templated))
    except TemplateError as error:
        place = error.position
    else:
        assert "{{" in templated or found == [text]
        return
    assert 0 < place <= len(templated) + 1


@settings(deadline=None)
@given(st.text())
def test_a_name_in_quotes_finds_any_key(name: str) -> None:
    quoted = "".join(f"\\{character}" if character in "'\\" else character for character in name)
    assert rendered(f"{{{{ device.meta['{quoted}'] }}}}", Values(meta={name: "found"})) == "found"
