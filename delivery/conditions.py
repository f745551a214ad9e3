r"""Conditions over topics in FCM's syntax: `'news' in topics && !('sport' in topics || "tv" in topics)`.

The grammar. White space may stand between any two symbols; `&&` binds tighter than `||`:

    condition  = all { "||" all }
    all        = unary { "&&" unary }
    unary      = "!" unary | "(" condition ")" | membership
    membership = topic "in" "topics"
    topic      = "'" characters "'" | '"' characters '"'

A topic has 1 to 255 characters; a backslash before a quote or a backslash takes that character as it is.

Source: https://firebase.google.com/docs/cloud-messaging/android/topic-messaging. FCM takes five topics, and speaks of
"left to right" after the parentheses, not of what binds tighter: `a || b && c` may mean `(a || b) && c` to FCM.
"""

import re
from collections.abc import Iterator

import msgspec

MAX_TOPICS = 60  # a mask is a bigint of PostgreSQL: 63 bits without the sign
MAX_OPERATORS = 4000
MAX_BYTES = 64 * 1024
MAX_TOPIC_CHARACTERS = 255

NOT, AND, OR = -1, -2, -3
_CODES = {"!": NOT, "&&": AND, "||": OR}
_TIGHTER = {"&&": ("&&",), "||": ("&&", "||")}
"""Which waiting operators come before this one; every `!` is done as soon as what it negates is."""

_TOKEN = re.compile(
    r"""(?P<quote>['"]) (?P<body>(?: \\['"\\] | (?!(?P=quote))[^\\] )*) (?P<closing>(?P=quote)?)
      | && | \|\| | [!()&|] | [^\s'"!()&|]+""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)")
_QUOTED_CHARACTERS = 20


class ConditionError(Exception):
    """A text that is not a condition, or one beyond the limits.

    `detail` says what was expected and what stands there, with at most 20 characters of the text; `position` is where,
    in characters from 0. The end of the text is its length.
    """

    def __init__(self, detail: str, position: int) -> None:
        super().__init__(f"{detail}, at character {position}")
        self.detail = detail
        self.position = position


class Condition(msgspec.Struct, frozen=True):
    """A condition as it is stored and evaluated.

    topics: the different topics in order of first appearance; bit i of a device's mask says that it has topics[i]
    program: in postfix order; n >= 0 pushes bit n of the mask, -1 is not, -2 and, -3 or
    drive: topics of which every device that matches has at least one, so that only their devices need to be looked
        at; None when a device with none of the topics may match
    """

    topics: list[str]
    program: list[int]
    drive: list[str] | None


def parse(text: str) -> Condition:
    """Read a condition, in time linear to its length; nesting is limited by the length alone.

    Raises ConditionError, also for more than 60 different topics, 4,000 operators or 64 KiB of UTF-8.
    """
    _check_size(text)
    parser = _Parser(text)
    parser.run()
    topics, drive = list(parser.bits), _drive(parser.program)
    driving = None if drive is None else [topic for bit, topic in enumerate(topics) if drive >> bit & 1]
    return Condition(topics, parser.program, driving)


def holds(condition: Condition, mask: int) -> bool:
    """Whether a device matches whose topics are those of the mask: what `condition_holds` says in PostgreSQL."""
    stack: list[bool] = []
    for step in condition.program:
        if step >= 0:
            stack.append(bool(mask >> step & 1))
        elif step == NOT:
            stack[-1] = not stack[-1]
        else:
            right = stack.pop()
            stack[-1] = (stack[-1] and right) if step == AND else (stack[-1] or right)
    return stack.pop()


class _Token(msgspec.Struct, frozen=True):
    """A symbol or word as it stands at `position`; the end is an empty one. `topic` is None for all but topics."""

    text: str
    position: int
    topic: str | None = None


def _tokens(text: str) -> Iterator[_Token]:
    """Cut the text into tokens: every character but white space belongs to one. The last is the end."""
    for found in _TOKEN.finditer(text):
        topic = _topic(text, found) if found["quote"] else None
        yield _Token(found[0], found.start(), topic)
    yield _Token("", len(text))


def _topic(text: str, found: re.Match[str]) -> str:
    """Return the topic that is quoted here; ConditionError when the quote ends wrongly, or the topic is no topic."""
    if not found["closing"]:
        raise _unclosed(text, found)
    topic = _ESCAPE.sub(r"\1", found["body"])
    if not 1 <= len(topic) <= MAX_TOPIC_CHARACTERS:
        expected = f"expected a topic of 1 to {MAX_TOPIC_CHARACTERS} characters"
        raise ConditionError(f"{expected}, found one of {len(topic):,}", found.start())
    return topic


def _unclosed(text: str, found: re.Match[str]) -> ConditionError:
    """Say why a quoted topic ends without its quote: the text does, or a backslash stands before something else."""
    after = found.end() + 1
    if after < len(text):
        return _unexpected("a quote or a backslash after a backslash", _Token(text[after], after))
    return _unexpected(f"the quote that closes the topic at {found.start()}", _Token("", len(text)))


def _unexpected(expected: str, token: _Token) -> ConditionError:
    excerpt = token.text[:_QUOTED_CHARACTERS]
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in excerpt)
    dots = "…" if len(token.text) > _QUOTED_CHARACTERS else ""
    if not token.text:
        found = "the end"
    elif token.topic is not None:
        found = f"the topic {shown}{dots}"
    else:
        found = f"'{shown}{dots}'"
    return ConditionError(f"expected {expected}, found {found}", token.position)


def _check_size(text: str) -> None:
    # a character is at least a byte, so there is no need to encode more of an endless text
    encoded = text[: MAX_BYTES + 1].encode("utf-8", "surrogatepass")
    if len(encoded) > MAX_BYTES:
        fitting = encoded[:MAX_BYTES].decode("utf-8", "ignore")
        raise ConditionError(f"expected at most {MAX_BYTES:,} bytes, found more", len(fitting))


class _Parser:
    """Operators and parentheses wait on a list of their own, so that no depth of nesting is Python's."""

    def __init__(self, text: str) -> None:
        self.bits: dict[str, int] = {}
        self.program: list[int] = []
        self._tokens = _tokens(text)
        self._waiting: list[_Token] = []
        self._operators = 0

    def run(self) -> None:
        """Read to the end; ConditionError for the first thing that is not as the grammar has it."""
        while True:
            self._read_operand()
            token = self._read_closing()
            if not token.text:
                return self._finish(token)
            if token.text not in _TIGHTER:
                raise _unexpected(self._possible_here(), token)
            self._emit(_TIGHTER[token.text])
            self._wait(token)

    def _read_operand(self) -> None:
        """Read what may stand before a membership, and the membership."""
        token = next(self._tokens)
        while token.text in ("!", "("):
            self._wait(token)
            token = next(self._tokens)
        if token.topic is None:
            raise _unexpected("a topic in quotes, '!' or '('", token)
        self.program.append(self._bit(token.topic, token.position))
        self._read_word("in", "'in topics' after a topic")
        self._read_word("topics", "'topics' after 'in'")
        self._emit(("!",))

    def _read_word(self, word: str, expected: str) -> None:
        token = next(self._tokens)
        if token.text != word:
            raise _unexpected(expected, token)

    def _read_closing(self) -> _Token:
        """Read the parentheses that close behind an operand; return the token that follows them."""
        while (token := next(self._tokens)).text == ")":
            self._emit(("&&", "||"))
            if not self._waiting:
                raise _unexpected(self._possible_here(), token)
            self._waiting.pop()
            self._emit(("!",))
        return token

    def _finish(self, end: _Token) -> None:
        self._emit(("&&", "||"))
        if self._waiting:
            raise _unexpected(self._possible_here(), end)

    def _possible_here(self) -> str:
        """Name what may follow an operand."""
        opened = next((token for token in reversed(self._waiting) if token.text == "("), None)
        return "'&&', '||' or " + ("the end" if opened is None else f"the ')' for the '(' at {opened.position}")

    def _bit(self, topic: str, position: int) -> int:
        bit = self.bits.setdefault(topic, len(self.bits))
        if bit >= MAX_TOPICS:
            raise ConditionError(f"expected at most {MAX_TOPICS} different topics, found one more", position)
        return bit

    def _wait(self, token: _Token) -> None:
        self._operators += token.text in _CODES
        if self._operators > MAX_OPERATORS:
            raise ConditionError(f"expected at most {MAX_OPERATORS:,} operators, found one more", token.position)
        self._waiting.append(token)

    def _emit(self, operators: tuple[str, ...]) -> None:
        """Write the last waiting operators to the program, as long as they are among these."""
        while self._waiting and self._waiting[-1].text in operators:
            self.program.append(_CODES[self._waiting.pop().text])


def _drive(program: list[int]) -> int | None:
    """Return the mask of the topics that drive a program, None when nothing does.

    Each part of the program has two answers: of itself, and of its negation. So a negation swaps them, and de Morgan's
    laws need no second pass.
    """
    stack: list[tuple[int | None, int | None]] = []
    for step in program:
        if step >= 0:
            stack.append((1 << step, None))
            continue
        straight, negated = stack.pop()
        if step == NOT:
            stack.append((negated, straight))
            continue
        left, left_negated = stack.pop()
        if step == AND:
            stack.append((_smaller(left, straight), _union(left_negated, negated)))
        else:
            stack.append((_union(left, straight), _smaller(left_negated, negated)))
    return stack.pop()[0]


def _smaller(left: int | None, right: int | None) -> int | None:
    """Of two sides that must both hold, either can drive: take the one with fewer topics."""
    if left is None or right is None:
        return right if left is None else left
    return min(left, right, key=int.bit_count)


def _union(left: int | None, right: int | None) -> int | None:
    """Of two sides of which one must hold, both have to drive."""
    return None if left is None or right is None else left | right
