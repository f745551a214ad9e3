"""Templates in payloads: what they say, that the JSON around them holds whatever they say, and their bounds."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.rendering.locales import Localizations, fallbacks
from delivery.rendering.templates import RenderError, Template, TemplateError, Values, compile_payload

DOCUMENT = (Path(__file__).parents[3] / "docs" / "templates.md").read_text(encoding="utf-8")
NASTY = st.sampled_from(
    ['"', "\\", "{{", "}}", "{{ device.id }}", "\x00", "\x1f", "😀", "\ud83d", "\u2028", "é", '","x":"']
)
SAID = st.one_of(st.text(), st.lists(NASTY | st.characters(codec=None)).map("".join))
EXPRESSIONS: dict[str, Callable[[Any], str]] = {
    "{{ device.id }}": lambda values: values.device_id,
    "{{- device.user -}}": lambda values: values.device_user,
    "{{ device.meta['a b'] | upper }}": lambda values: values.meta["a b"].upper(),
    '{{ default "d\\"" .l10n.x }}': lambda values: values.l10n["x"] or 'd"',
    "{{ vars.x }}": lambda values: values.vars["x"],
    "{{ '{{' }}": lambda values: "{{",
}
TEMPLATED = st.lists(st.sampled_from([*EXPRESSIONS, "{", "}}", 'a"', "é😀", "\x00"])).map(
    lambda parts: "|".join(["", *parts, ""])
)
PAYLOADS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEMPLATED),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just("{{ key }}"), inner, max_size=4),
    max_leaves=12,
)


def well_formed(text: str) -> str:
    """The text as it arrives in JSON: halves of a surrogate pair are joined or replaced."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def expected(value: Any, values: Values) -> Any:
    """What a payload should say, found without the code under test: every expression replaced by its text."""
    if isinstance(value, str):
        pattern = "|".join(map(re.escape, EXPRESSIONS))
        return re.sub(pattern, lambda match: well_formed(EXPRESSIONS[match[0]](values)), value)
    if isinstance(value, list):
        return [expected(item, values) for item in value]
    if isinstance(value, dict):
        return {key: expected(item, values) for key, item in value.items()}
    return value


def compiled(text: str) -> Template:
    return compile_payload(msgspec.json.encode({"text": text}))


def said(text: str, values: Values) -> str:
    rendered: dict[str, str] = json.loads(compiled(text).render(values))
    return rendered["text"]


def refusal(payload: bytes, path: str = "notification") -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        compile_payload(payload, path)
    return caught.value


@settings(deadline=None)
@given(PAYLOADS, st.booleans(), st.lists(SAID.filter(bool), min_size=5, max_size=5))
def test_whatever_the_values_are_the_json_around_them_stays_as_it_is(
    payload: Any, ascii_only: bool, texts: list[str]
) -> None:
    one, two, three, four, five = texts
    values = Values(one, two, {"a b": three}, {"x": four}, vars={"x": five})
    source = json.dumps(payload, ensure_ascii=ascii_only, indent=ascii_only or None).encode()
    rendered = compile_payload(source).render(values)
    assert json.loads(rendered.decode()) == expected(payload, values)


@settings(deadline=None)
@given(st.text().filter(lambda text: "{{" not in text), SAID.filter(bool))
def test_whatever_the_values_are_json_text_inside_a_string_stays_json(around: str, text: str) -> None:
    inner = {"a": around, "b": ["{{ device.id }} and {{ device.user | default('x') }}"]}
    rendered = compile_payload(json.dumps({"data": json.dumps(inner)}).encode()).render(Values(text, ""))
    clean = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert json.loads(json.loads(rendered)["data"]) == {"a": around, "b": [f"{clean} and x"]}


def test_a_template_in_json_text_is_named_by_its_place() -> None:
    error = refusal(json.dumps({"data": json.dumps({"a": ["", "{{ nobody.knows }}"]})}).encode(), "notification.hms")
    assert error.path == "notification.hms.data.a[1]"


def test_text_that_only_looks_like_json_is_text() -> None:
    values = Values('"')
    assert said("{ {{ device.id }} }", values) == '{ " }'
    assert said('{{ device.id }} ["a"]', values) == '" ["a"]'


@settings(deadline=None)
@given(PAYLOADS, st.binary(max_size=4), st.integers(0, 400))
def test_a_damaged_payload_is_refused_or_still_renders_to_json(payload: Any, damage: bytes, place: int) -> None:
    source = json.dumps(payload).encode()
    damaged = source[:place] + damage + source[place + len(damage) :]
    values = Values("d", "u", {"a b": "m"}, {"x": "l"}, vars={"x": "v"})
    try:
        rendered = compile_payload(damaged).render(values)
    except (TemplateError, RenderError):
        return
    msgspec.json.decode(rendered, type=msgspec.Raw)
    rendered.decode()


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_compiled_or_refused(payload: bytes) -> None:
    try:
        assert compile_payload(payload).static == (b"{{" not in payload)
    except TemplateError as error:
        where = error.path
    else:
        return
    assert where == "notification"


def test_everything_around_the_templates_keeps_its_bytes() -> None:
    source = b' { "b" : 1.0e+2,"a":[ 1.50, "{\\u00e9", "{{ device.id }}" ],"\\u0061{{ x }}":"\\/",\n"b":-0 } '
    rendered = compile_payload(source).render(Values(device_id='"'))
    assert rendered == source.replace(b"{{ device.id }}", b'\\"')


@pytest.mark.parametrize(
    "source", [b' {"a" : "{ } }} \\u007b x", "{{ k }}":1.0 } ', b'"\\u007b\\u007d"', b"1e999", b"null"]
)
def test_a_payload_without_templates_is_given_back_byte_for_byte(source: bytes) -> None:
    template = compile_payload(source)
    assert template.static
    assert template.needs == template.l10n_names == frozenset()
    assert template.render(Values()) is source
    assert template.key(Values(device_id="d")) == ()


def test_braces_that_json_escapes_begin_a_template_too() -> None:
    template = compile_payload(b'["\\u007B{ device.id }\\u007d", "{\\u007b device.id }}"]')
    assert not template.static
    assert template.render(Values(device_id="d")) == b'["d", "d"]'


def test_quotes_of_a_literal_may_be_escaped_by_json() -> None:
    payload = rb'{"text":"{{ .l10n.x | default \"a \\\"b\\\"\" }}"}'
    assert json.loads(compile_payload(payload).render(Values())) == {"text": 'a "b"'}


def test_a_template_of_literals_alone_renders_the_same_for_everyone() -> None:
    template = compiled("{{ '{{' }} {{/* nothing */}}")
    assert not template.static
    assert template.render(Values()) == b'{"text":"{{ "}'
    assert template.key(Values()) == ()


def test_a_template_says_what_it_needs() -> None:
    template = compile_payload(
        b'["{{ device.id }}{{ device.user }}{{ device.meta.x }}", {"a": "{{ l10n.a | default(l10n[\'b c\']) }}"},'
        b'"{{ receipt_token }} {{ push.uid }} {{ vars.x }} {{ l10n.a }}"]'
    )
    every = {"device.id", "device.user", "device.meta", "l10n", "receipt_token", "push.uid", "vars"}
    assert template.needs == every
    assert template.l10n_names == {"a", "b c"}
    assert compiled("{{ l10n.a }}").needs == {"l10n"}
    assert compiled("{{ device.meta.l10n }}").l10n_names == frozenset()


def test_equal_keys_mean_equal_renderings() -> None:
    template = compiled("{{ l10n.a | default('x') }} {{ vars.n | default('y') }} {{ l10n.a | default('z') }}")
    one = Values("d-1", "ann", {"name": "Ann"}, {"a": "A", "b": "B"}, vars={"n": 1})
    assert template.key(one) == template.key(Values("d-2", l10n={"a": "A"}, vars={"n": 1})) == ("A", "1")
    seen: dict[tuple[str | None, ...], bytes] = {}
    numbers: list[Mapping[str, bool | float | None] | None] = [None, {"n": None}, {"n": True}, {"n": 1}, {"n": 1.0}]
    for vars_ in numbers:
        for l10n in (None, {}, {"a": ""}, {"a": "A"}):
            values = Values(l10n=l10n, vars=vars_)
            assert seen.setdefault(template.key(values), template.render(values)) == template.render(values)
    assert len(seen) == 12


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{{ device.id }}", "device.id"),
        ("{{ device.user | upper }}", "device.user"),
        ("{{ device.meta.x }}", "device.meta.x"),
        ("{{ device.meta['a b'] }}", "device.meta['a b']"),
        ("{{ l10n.x }}", "l10n.x"),
        ("{{ vars.x }}", "vars.x"),
        ("{{ push.uid }}", "push.uid"),
        ("{{ receipt_token }}", "receipt_token"),
        ("{{ device.meta.x | default(l10n.x) }}", "device.meta.x or l10n.x"),
    ],
)
@pytest.mark.parametrize("values", [Values(), Values(meta={"y": "secret"}, l10n={"y": "secret"}, vars={"x": None})])
def test_a_missing_value_fails_the_recipient_by_its_name(text: str, names: str, values: Values) -> None:
    with pytest.raises(RenderError) as caught:
        compiled(text).render(values)
    assert (caught.value.reason, caught.value.detail) == ("TemplateValueMissing", f"no value for {names}")


def test_an_empty_text_is_a_value() -> None:
    assert said("[{{ device.meta.x }}{{ l10n.x }}]", Values(meta={"x": ""}, l10n={"x": ""})) == "[]"


@pytest.mark.parametrize(
    ("payload", "where"),
    [
        ('"{{"', ""),
        ('{"aps":{"alert":{"title":"x","body":"{{"}}}', ".aps.alert.body"),
        ('{"a":[],"b":{},"c":[1,{"d":"x"},["y","{{"]]}', ".c[2][1]"),
        ('[{"a":1,"b":2},"{{"]', "[1]"),
        ('{"gcm.title":"{{"}', "['gcm.title']"),
        ('{"thread-id":"{{"}', ".thread-id"),
        ('{"":{"a":"{{"}}', "[''].a"),
        ('{"%s":"{{"}' % ("k" * 99), f"['{'k' * 40}']"),
    ],
)
def test_a_fault_is_found_by_the_path_of_its_string(payload: str, where: str) -> None:
    error = refusal(payload.encode(), "notification.apns.payload")
    assert error.path == f"notification.apns.payload{where}"
    assert error.position == 1


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b'{"a":"{{ device.id }}"',
        b"[1,]",
        b'"\xff"',
        b'"\\ud800 {{ device.id }}"',
        b"NaN",
        b'{"a":"\n"}',
        b"1 2",
    ],
)
def test_bad_json_is_refused(payload: bytes) -> None:
    error = refusal(payload)
    assert (error.detail, error.path, error.position) == ("not well-formed JSON", "notification", 0)


def test_json_of_endless_depth_is_refused() -> None:
    assert refusal(b"[" * 100_000 + b"]" * 100_000).detail == "nested too deeply"


def test_a_payload_has_at_most_200_expressions() -> None:
    values = Values(device_id="d")
    assert said("{{ device.id }}" * 200, values) == "d" * 200
    for text in ("{{ device.id }}", "{{ 'a' }}", "{{/* a */}}"):
        error = refusal(msgspec.json.encode([text * 200, {"a": text}]))
        assert (error.detail, error.path) == ("more than 200 expressions in a payload", "notification[1].a")


def test_templates_render_to_at_most_64_kib() -> None:
    template = compiled("x" * 100_000 + "{{ device.meta.a }}{{ device.meta.b }}")
    assert len(template.render(Values(meta={"a": "a" * 65_000, "b": "b" * 536}))) > 165_000
    with pytest.raises(RenderError) as caught:
        template.render(Values(meta={"a": "a" * 65_000, "b": "\x00" * 90}))
    assert caught.value.reason == "RenderedTooLarge"


def examples() -> list[tuple[str, str]]:
    lines = [line.strip() for line in DOCUMENT.splitlines() if line.startswith("    ") and " → " in line]
    return [(text, gives) for text, _, gives in (line.partition(" → ") for line in lines)]


def outcome(text: str) -> str:
    (recipient,) = re.findall(r"^ {4}(\{\"device_id.*)$", DOCUMENT, re.MULTILINE)
    values = msgspec.json.decode(recipient, type=Values)
    try:
        return said(text, values)
    except TemplateError as error:
        return f"error at {error.position}: {error.detail}"
    except RenderError as error:
        return f"{error.reason}: {error.detail}"


@pytest.mark.parametrize(("text", "gives"), examples())
def test_the_examples_of_the_document_come_out_as_it_says(text: str, gives: str) -> None:
    if gives.startswith("error at "):
        assert outcome(text).startswith(gives)
    else:
        assert outcome(text) == gives


def test_the_document_shows_every_variable_and_function_in_an_example() -> None:
    shown = " ".join(text for text, _ in examples())
    words = ["device.id", "device.user", "device.meta.", "l10n.", "vars.", "push.uid", "receipt_token"]
    for word in [*words, "default", "upper", "trim", "truncate", "index", "[[", "{{-", "/*"]:
        assert word in shown


def test_the_call_of_the_document_compiles_and_greets_in_the_locale_of_the_device() -> None:
    (call,) = [line for line in DOCUMENT.splitlines() if "curl -X POST" in line]
    request = msgspec.json.decode(call.partition(" -d '")[2].removesuffix("'"))
    translations = {locale: entry["translations"] for locale, entry in request["localizations"].items()}
    payload = msgspec.json.encode(request["notification"]["fcm"]["message"])
    l10n = Localizations(translations).resolve("pt-BR")
    rendered = json.loads(compile_payload(payload).render(Values(l10n=l10n)))
    assert rendered["notification"]["title"] == "Olá, friend!"


def test_the_locales_of_the_document_fall_back_as_it_says() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (.+), then `\"\"` \|$", DOCUMENT, re.MULTILINE)
    assert len(rows) == 2
    for locale, tags in rows:
        assert fallbacks(locale) == re.findall(r"`([^`]+)`", tags)
