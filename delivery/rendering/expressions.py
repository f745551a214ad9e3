"""The language between `{{` and `}}`: variables, literal texts and a few functions, in our spelling or in that of Go.

Nothing is looked up by attribute, called or repeated: an expression is one value and the functions it goes through.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Never

from delivery.rendering.values import Read, Variable, changed, default, literal, shown, variable

MOST_CHARACTERS = 2_000  # of one expression, braces and all
MOST_FUNCTIONS = 16  # of one expression; each is a call inside the call of the next

_KNOWN = "device.id, device.user, device.meta.NAME, l10n.NAME, vars.NAME, push.uid, receipt_token"
_ROOTS = ("device", "l10n", "vars", "push", "receipt_token")
_TEXT_FUNCTIONS: dict[str, Callable[[str], str]] = {"upper": str.upper, "lower": str.lower, "trim": str.strip}
_FUNCTIONS = ("default", "truncate", "index", *_TEXT_FUNCTIONS)

_SPACE = " \t\r\n"
_QUOTED = r""" "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' """
_TOKEN = re.compile(
    rf"""\s*(?:
      (?P<end> -?\}}\}} )
    | (?P<mark> [|()] )
    | (?P<number> -?[0-9]+ (?:\.[0-9]+)? (?!\w) )
    | (?P<quoted> {_QUOTED} )
    | (?P<raw> `[^`]*` | \[\[.*?\]\] )
    | (?P<path> \.?[^\W\d]\w* (?: \.\w+ | \[\s*(?:{_QUOTED})\s*\] )* )
    )""",
    re.VERBOSE | re.DOTALL,
)
_KEY = re.compile(rf"\w+ | {_QUOTED}", re.VERBOSE | re.DOTALL)
_COMMENT = re.compile(r"\s*/\*.*?\*/\s*(?P<end>-?\}\})", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'", "/": "/"}


class TemplateError(Exception):
    """A template that can never be rendered.

    `detail` says what is wrong and where in its string, `path` which string of the payload that is. `position` is the
    character that `detail` speaks of, counted from 1 with the JSON escapes resolved; 0 when no string is at fault.
    """

    def __init__(self, detail: str, path: str = "", position: int = 0) -> None:
        super().__init__(detail)
        self.detail = detail
        self.path = path
        self.position = position


@dataclass(frozen=True, slots=True)
class Expression:
    """What stands between `{{` and `}}`: `read` gives its text, or None when a variable of it has no value."""

    read: Read
    variables: tuple[Variable, ...] = ()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # the group of _TOKEN that it matched
    source: str
    offset: int

    @property
    def word(self) -> str:
        """The token as the name of a function; empty when it cannot be one."""
        return self.source if self.kind == "path" and self.source.isidentifier() else ""


def pieces(text: str) -> Iterator[str | Expression]:
    """The plain texts and the expressions of a templated string, in order; TemplateError, without path, on the way."""
    place, trim = 0, False
    while (start := text.find("{{", place)) >= 0:
        trim_before = text.startswith("-", start + 2)
        plain = text[place:start].lstrip(_SPACE) if trim else text[place:start]
        yield plain.rstrip(_SPACE) if trim_before else plain
        expression, end = _expression(text, start, start + 2 + trim_before)
        yield expression
        place, trim = end.offset + len(end.source), end.source[0] == "-"
    yield text[place:].lstrip(_SPACE) if trim else text[place:]


def _expression(text: str, start: int, inside: int) -> tuple[Expression, _Token]:
    """The expression whose braces open at `start` and whose words begin `inside`, and the token that ends it."""
    comment = _COMMENT.match(text, inside, start + MOST_CHARACTERS)
    if comment:
        return Expression(literal("")), _Token("end", comment["end"], comment.start("end"))
    *tokens, end = _tokens(text, start, inside)
    return _parsed(tokens, end), end


def _tokens(text: str, start: int, place: int) -> list[_Token]:
    limit = start + MOST_CHARACTERS
    tokens: list[_Token] = []
    while not tokens or tokens[-1].kind != "end":
        match = _TOKEN.match(text, place, limit)
        if match is None:
            _fail_between(text, start, place)
        kind = match.lastgroup or ""
        tokens.append(_Token(kind, match[kind], match.start(kind)))
        place = match.end()
    return tokens


def _fail_between(text: str, start: int, place: int) -> Never:
    """Say why no token begins at `place` of the expression that begins at `start`."""
    limit = start + MOST_CHARACTERS
    rest = text[place:limit].lstrip()
    offset = min(limit, len(text)) - len(rest)
    if len(text) > limit and "}}" not in rest:
        _fail(f"an expression of more than {MOST_CHARACTERS:,} characters", start)
    if not rest:
        _fail("'{{' is never closed", start)
    if rest[0] in "\"'`" or rest.startswith("[["):
        _fail("a text is never closed", offset)
    if rest.startswith("/*"):
        _fail("a comment is never closed", offset)
    hint = " (a name with other characters is written device.meta['first-name'])" if rest[0] == "-" else ""
    _fail(f"unexpected {rest[0]!r}{hint}", offset)


def _fail(detail: str, offset: int) -> Never:
    raise TemplateError(f"{detail}, at character {offset + 1}", position=offset + 1)


def _parsed(tokens: list[_Token], end: _Token) -> Expression:
    if not tokens:
        _fail("an empty expression", end.offset)
    stages: list[list[_Token]] = [[]]
    for token in tokens:
        if token.source == "|":
            stages.append([])
        else:
            stages[-1].append(token)
    if not all(stages):
        _fail("nothing on one side of a '|'", tokens[0].offset)
    if len(stages) > MOST_FUNCTIONS:
        _fail(f"more than {MOST_FUNCTIONS} functions", tokens[0].offset)
    value = _first(*stages[0])
    for stage in stages[1:]:
        value = _filtered(value, *stage)
    return value


def _first(first: _Token, *given: _Token) -> Expression:
    """What comes before any `|`: a value, or a function with its arguments after it, the last of which is the value."""
    if first.word == "index":
        return _indexed(first, *given)
    if first.word in _FUNCTIONS:
        if not given:
            _fail(f"{first.word} of nothing", first.offset)
        return _called(first, given[:-1], _operand(given[-1]))
    if given and first.word and first.word not in _ROOTS:
        _fail(f"unknown function {shown(first.word)}", first.offset)
    if given:
        _fail(f"unexpected {shown(given[0].source)}", given[0].offset)
    return _operand(first)


def _filtered(value: Expression, name: _Token, *given: _Token) -> Expression:
    """What comes after a `|`: a function, and its argument in parentheses or, as in Go, without."""
    if not name.word:
        _fail(f"a function is expected instead of {shown(name.source)}", name.offset)
    if name.word == "index":
        _fail("index comes first in its expression", name.offset)
    if given and given[0].source == "(" and given[-1].source == ")":
        given = given[1:-1]
    return _called(name, given, value)


def _called(name: _Token, given: tuple[_Token, ...], value: Expression) -> Expression:
    if name.word not in _FUNCTIONS:
        _fail(f"unknown function {shown(name.word)}", name.offset)
    if name.word in _TEXT_FUNCTIONS:
        if given:
            _fail(f"{name.word} takes nothing but the value", given[0].offset)
        return Expression(changed(value.read, _TEXT_FUNCTIONS[name.word]), value.variables)
    if len(given) != 1:
        _fail(f"{name.word} takes one argument besides the value", name.offset)
    if name.word == "default":
        otherwise = _operand(given[0])
        return Expression(default(value.read, otherwise.read), value.variables + otherwise.variables)
    if given[0].kind != "number" or not given[0].source.isdecimal():
        _fail("truncate takes a whole number", given[0].offset)
    most = int(given[0].source)
    return Expression(changed(value.read, lambda text: text[:most]), value.variables)


def _indexed(name: _Token, *given: _Token) -> Expression:
    if len(given) < 2 or given[0].kind != "path" or any(key.kind not in ("quoted", "raw") for key in given[1:]):
        _fail('index takes a map and names in quotes, as in index .device.meta "first name"', name.offset)
    return _variable(given[0], *_keys(given[0]), *map(_text, given[1:]))


def _operand(token: _Token) -> Expression:
    if token.kind == "path":
        return _variable(token, *_keys(token))
    if token.kind == "mark":
        _fail(f"unexpected {token.source!r}", token.offset)
    return Expression(literal(_text(token)))


def _variable(token: _Token, *keys: str) -> Expression:
    found = variable(*keys)
    if found is None:
        _fail(f"unknown variable {shown('.'.join(keys))} (there are {_KNOWN})", token.offset)
    return Expression(found.read, (found,))


def _keys(path: _Token) -> list[str]:
    return [_unquoted(key, path) if key[0] in "\"'" else key for key in _KEY.findall(path.source)]


def _text(token: _Token) -> str:
    """What a literal says; a number is its own text."""
    if token.kind == "quoted":
        return _unquoted(token.source, token)
    if token.kind == "raw":
        return token.source[2:-2] if token.source[0] == "[" else token.source[1:-1]
    return token.source


def _unquoted(source: str, token: _Token) -> str:
    def character(escape: re.Match[str]) -> str:
        if escape[1]:
            return chr(int(escape[1], 16))
        if escape[2] not in _ESCAPED:
            _fail(f"unknown escape {shown(escape[0])} in a text", token.offset)
        return _ESCAPED[escape[2]]

    return _ESCAPE.sub(character, source[1:-1])
