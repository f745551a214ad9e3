"""Conditions over topics: the grammar, its errors, and what drives a search."""

from collections.abc import Iterator
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.conditions import Condition, ConditionError, holds, parse
from tests.delivery.condition_trees import NAMES, TREES, Printer, Tree, tree_holds


def masks(condition: Condition) -> Iterator[tuple[int, set[str]]]:
    """All that a device can have of the topics of a condition."""
    for mask in range(1 << len(condition.topics)):
        yield mask, {topic for bit, topic in enumerate(condition.topics) if mask >> bit & 1}


def matching(condition: Condition) -> list[str]:
    """The sets of topics for which a condition over topics of one letter holds, each as a word."""
    return ["".join(sorted(topics)) for mask, topics in masks(condition) if holds(condition, mask)]


def short(condition: str) -> str:
    """Write `a` for a membership."""
    return "".join(f"'{each}' in topics" if each.isalpha() else each for each in condition)


def refusal(text: str) -> ConditionError:
    with pytest.raises(ConditionError) as raised:
        parse(text)
    return raised.value


def place_of_error(text: str) -> int:
    """Where the text is refused; its end when it is a condition that can be evaluated."""
    try:
        holds(parse(text), 0)
    except ConditionError as error:
        return error.position
    return len(text)


def test_the_program_is_postfix_over_the_topics_in_order() -> None:
    condition = parse("""'b' in topics && !('a' in topics) || ("c" in topics && 'b' in topics)""")
    assert condition == Condition(["b", "a", "c"], [0, 1, -1, -2, 2, 0, -2, -3], ["b", "c"])


def test_a_chain_of_operators_is_evaluated_from_the_left() -> None:
    assert parse(short("a || b || c")).program == [0, 1, -3, 2, -3]
    assert parse(short("a && b && c")).program == [0, 1, -2, 2, -2]


def test_a_condition_survives_being_stored() -> None:
    condition = parse(short("a && (b || !c)"))
    assert msgspec.json.decode(msgspec.json.encode(condition), type=Condition) == condition


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("a || b && c", "a || (b && c)"),
        ("a && b || c", "(a && b) || c"),
        ("a && b || c && d", "(a && b) || (c && d)"),
        ("!a && b", "(!a) && b"),
        ("!a || b", "(!a) || b"),
        ("!!a && b", "a && b"),
        ("!(a && b) || c", "(!a || !b) || c"),
        ("!!!(a || b) && c", "!a && !b && c"),
    ],
)
def test_not_binds_tighter_than_and_and_that_tighter_than_or(condition: str, expected: str) -> None:
    assert matching(parse(short(condition))) == matching(parse(short(expected)))


def test_only_parentheses_change_what_binds() -> None:
    assert matching(parse(short("(a || b) && c"))) == ["ac", "bc", "abc"]
    assert matching(parse(short("a || b && c"))) == ["a", "ab", "ac", "bc", "abc"]


@pytest.mark.parametrize("topic", NAMES)
@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_topic_is_what_its_quotes_hold(topic: str, quote: str) -> None:
    escaped = topic.replace("\\", r"\\").replace(quote, f"\\{quote}")
    assert parse(f"{quote}{escaped}{quote} in topics").topics == [topic]


def test_a_quote_of_the_other_kind_may_be_escaped() -> None:
    assert parse(r"""'\"' in topics || "\'" in topics""").topics == ['"', "'"]


def test_white_space_is_needed_only_between_in_and_topics() -> None:
    assert parse("'a'in topics&&!('b'in\ntopics)") == parse(" \n 'a' in\ttopics\r\n&& ! ( 'b'  in  topics ) \n")


@pytest.mark.parametrize(
    ("text", "detail", "position"),
    [
        ("", "expected a topic in quotes, '!' or '(', found the end", 0),
        (" \n ", "expected a topic in quotes, '!' or '(', found the end", 3),
        ("news in topics", "expected a topic in quotes, '!' or '(', found 'news'", 0),
        ("&& 'a' in topics", "expected a topic in quotes, '!' or '(', found '&&'", 0),
        ("()", "expected a topic in quotes, '!' or '(', found ')'", 1),
        ("!", "expected a topic in quotes, '!' or '(', found the end", 1),
        ("'a' in topics || ", "expected a topic in quotes, '!' or '(', found the end", 17),
        ("'a' in topics && || 'b' in topics", "expected a topic in quotes, '!' or '(', found '||'", 17),
        ("‘a’ in topics", "expected a topic in quotes, '!' or '(', found '‘a’'", 0),
        ("'a' && 'b' in topics", "expected 'in topics' after a topic, found '&&'", 4),
        ("'a'", "expected 'in topics' after a topic, found the end", 3),
        ("'a' 'b' in topics", "expected 'in topics' after a topic, found the topic 'b'", 4),
        ("'a' IN topics", "expected 'in topics' after a topic, found 'IN'", 4),
        ("'a' intopics", "expected 'in topics' after a topic, found 'intopics'", 4),
        ("'in' topics", "expected 'in topics' after a topic, found 'topics'", 5),
        ("'a' in 'topics'", "expected 'topics' after 'in', found the topic 'topics'", 7),
        ("'a' in (topics)", "expected 'topics' after 'in', found '('", 7),
        ("'a' in topic", "expected 'topics' after 'in', found 'topic'", 7),
        ("'a' in topics and 'b' in topics", "expected '&&', '||' or the end, found 'and'", 14),
        ("'a' in topics & 'b' in topics", "expected '&&', '||' or the end, found '&'", 14),
        ("'a' in topics ||| 'b' in topics", "expected a topic in quotes, '!' or '(', found '|'", 16),
        ("'a' in topics !'b' in topics", "expected '&&', '||' or the end, found '!'", 14),
        ("'a' in topics 'b' in topics", "expected '&&', '||' or the end, found the topic 'b'", 14),
        ("('a' in topics) ('b' in topics)", "expected '&&', '||' or the end, found '('", 16),
        ("('a' in topics))", "expected '&&', '||' or the end, found ')'", 15),
        ("!(('a' in topics)", "expected '&&', '||' or the ')' for the '(' at 1, found the end", 17),
        ("('a' in topics && (('b' in topics)", "expected '&&', '||' or the ')' for the '(' at 18, found the end", 34),
        ("('a' in topics; ", "expected 'topics' after 'in', found 'topics;'", 8),
        ("('a' in topics ; ", "expected '&&', '||' or the ')' for the '(' at 0, found ';'", 15),
        (" 'a in topics", "expected the quote that closes the topic at 1, found the end", 13),
        ("'a' in topics && 'b", "expected the quote that closes the topic at 17, found the end", 19),
        ("'a\" in topics", "expected the quote that closes the topic at 0, found the end", 13),
        (r"'a\' in topics", "expected the quote that closes the topic at 0, found the end", 14),
        ("'a\\", "expected the quote that closes the topic at 0, found the end", 3),
        (r"'a\n' in topics", "expected a quote or a backslash after a backslash, found 'n'", 3),
        (" '' in topics", "expected a topic of 1 to 255 characters, found one of 0", 1),
        (f"'{'x' * 256}' in topics", "expected a topic of 1 to 255 characters, found one of 256", 0),
        ("abcdefghijklmnopqrst", "expected a topic in quotes, '!' or '(', found 'abcdefghijklmnopqrst'", 0),
        ("abcdefghijklmnopqrstu", "expected a topic in quotes, '!' or '(', found 'abcdefghijklmnopqrst…'", 0),
        ("'a' 'bcdefghijklmnopqrst'", "expected 'in topics' after a topic, found the topic 'bcdefghijklmnopqrst…", 4),
        ("'é' in topics && \N{PILE OF POO}", "expected a topic in quotes, '!' or '(', found '\N{PILE OF POO}'", 17),
        ("'a' in topics \0\n", "expected '&&', '||' or the end, found '\N{REPLACEMENT CHARACTER}'", 14),
    ],
)
def test_an_error_says_what_was_expected_what_stands_there_and_where(text: str, detail: str, position: int) -> None:
    error = refusal(text)
    assert (error.detail, error.position) == (detail, position)
    assert str(error) == f"{detail}, at character {position}"


@pytest.mark.parametrize("text", ["{}", "'a' in topics && '{}'", "'a' '{}'", "'{}", r"'\{}'", "'{}{}{}{}' in topics"])
def test_an_error_quotes_at_most_twenty_characters(text: str) -> None:
    assert str(refusal(text.replace("{}", "Ж" * 100))).count("Ж") <= 20


def test_sixty_topics_are_the_limit_however_often_they_come() -> None:
    sixty = [f"'{number}' in topics" for number in range(60)]
    condition = parse(" || ".join(sixty * 2))
    assert len(condition.topics) == 60
    assert holds(condition, 1 << 59)
    text = " || ".join([*sixty, "'one more' in topics"])
    error = refusal(text)
    assert (error.detail, error.position) == (
        "expected at most 60 different topics, found one more",
        text.index("'one more'"),
    )


def test_four_thousand_operators_are_the_limit() -> None:
    assert parse("!" * 4000 + short("a")).program == [0] + [-1] * 4000
    mixed = "!'' in topics && ".replace("''", "'a'")
    error = refusal(mixed * 2000 + short("!a"))
    detail = "expected at most 4,000 operators, found one more"
    assert (error.detail, error.position) == (detail, len(mixed) * 2000)


@pytest.mark.parametrize(("character", "size"), [(" ", 1), ("\N{NO-BREAK SPACE}", 2), ("\N{IDEOGRAPHIC SPACE}", 3)])
def test_sixty_four_kibibytes_are_the_limit(character: str, size: int) -> None:
    topic = short("a")
    count = (65_536 - len(topic)) // size
    assert parse(topic + character * count).topics == ["a"]
    error = refusal(topic + character * (count + 1))
    assert (error.detail, error.position) == ("expected at most 65,536 bytes, found more", len(topic) + count)


def test_depth_is_limited_by_the_length_alone() -> None:
    assert parse("(" * 5000 + short("a") + ")" * 5000) == parse(short("a"))
    right = parse("('a' in topics && " * 2600 + short("b") + ")" * 2600)
    assert (holds(right, 0b11), holds(right, 0b10), right.drive) == (True, False, ["a"])
    negated = parse("!('a' in topics || " * 1999 + short("b") + ")" * 1999)
    assert (holds(negated, 0b10), holds(negated, 0b00)) == (False, True)
    assert refusal("(" * 60_000).position == 60_000
    assert refusal("(" * 5000 + short("a") + ")" * 4999).position == 5000 + len(short("a")) + 4999


@pytest.mark.parametrize(
    ("condition", "drive"),
    [
        ("a", ["a"]),
        ("!a", None),
        ("!!a", ["a"]),
        ("a && b", ["a"]),
        ("a && !b", ["a"]),
        ("!a && b", ["b"]),
        ("!a && !b", None),
        ("a || b", ["a", "b"]),
        ("a || !b", None),
        ("(a || b) && c", ["c"]),
        ("(c || b) && (a || b || d)", ["c", "b"]),
        ("!(a || !b)", ["b"]),
        ("!(a && b)", None),
        ("!(!a && !b)", ["a", "b"]),
        ("!(!a || !(b || c))", ["a"]),
        ("a && !a", ["a"]),
        ("b && a || a && c || a && d", ["b", "a"]),
    ],
)
def test_the_drive_is_the_smaller_side_of_an_and_and_both_sides_of_an_or(
    condition: str, drive: list[str] | None
) -> None:
    assert parse(short(condition)).drive == drive


@settings(deadline=None, max_examples=200)
@given(TREES, st.integers(0, 1_000_000))
def test_a_condition_holds_for_what_its_tree_holds_for(tree: Tree, seed: int) -> None:
    condition = parse(Printer(Random(seed)).write(tree))
    for mask, topics in masks(condition):
        assert holds(condition, mask) == tree_holds(tree, topics)


@settings(deadline=None, max_examples=200)
@given(TREES)
def test_whatever_matches_has_a_topic_of_the_drive(tree: Tree) -> None:
    condition = parse(Printer(Random(1)).write(tree))
    if condition.drive is None:
        return
    assert set(condition.drive) <= set(condition.topics)
    for mask, topics in masks(condition):
        assert not holds(condition, mask) or topics & set(condition.drive)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from([*"'\"\\!()&| \nЖ", "&&", "||", " in topics", "'a' in topics", "in", "topics"])))
def test_any_text_is_a_condition_or_refused_at_a_place_in_it(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert 0 <= place_of_error(text) <= len(text)
