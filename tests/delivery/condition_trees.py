"""Conditions as trees: evaluated as Python would, and written in the syntax that the parser reads."""

from random import Random

import msgspec
from hypothesis import strategies as st

NAMES = ["a", "news.local", "it's", 'a "quoted" one', "back\\slash", "'a' in topics && b", "две\nстроки", "x" * 255]


class In(msgspec.Struct, frozen=True):
    topic: str


class Not(msgspec.Struct, frozen=True):
    negated: "Tree"


class And(msgspec.Struct, frozen=True):
    left: "Tree"
    right: "Tree"


class Or(msgspec.Struct, frozen=True):
    left: "Tree"
    right: "Tree"


Tree = In | Not | And | Or


def tree_holds(tree: Tree, topics: set[str]) -> bool:
    match tree:
        case In(topic):
            return topic in topics
        case Not(negated):
            return not tree_holds(negated, topics)
        case And(left, right):
            return tree_holds(left, topics) and tree_holds(right, topics)
        case Or(left, right):
            return tree_holds(left, topics) or tree_holds(right, topics)


class Printer:
    """Writes a tree as a condition, with white space, quotes and needless parentheses as chance has it."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def write(self, tree: Tree, least: int = 0) -> str:
        """`least` is how tightly the text must bind: 0 as `||`, 1 as `&&`, 2 as `!`."""
        match tree:
            case In(topic):
                binds, text = 2, f"{self._quoted(topic)}{self._space()}in{self._space(' ')}topics"
            case Not(negated):
                binds, text = 2, f"!{self._space()}{self.write(negated, 2)}"
            case And(left, right):
                binds, text = 1, f"{self.write(left, 1)}{self._space()}&&{self._space()}{self.write(right, 1)}"
            case Or(left, right):
                binds, text = 0, f"{self.write(left)}{self._space()}||{self._space()}{self.write(right)}"
        while binds < least or self._random.random() < 0.1:
            binds, text = 2, f"({self._space()}{text}{self._space()})"
        return text

    def _space(self, least: str = "") -> str:
        return self._random.choice(["", " ", "\n", "\t \r\n"]) or least

    def _quoted(self, topic: str) -> str:
        quote = self._random.choice("'\"")
        return quote + topic.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote


TREES: st.SearchStrategy[Tree] = st.recursive(
    st.builds(In, st.sampled_from(NAMES[:5])),
    lambda trees: st.one_of(st.builds(Not, trees), st.builds(And, trees, trees), st.builds(Or, trees, trees)),
    max_leaves=20,
)


def random_tree(random: Random, depth: int) -> Tree:
    if not depth or random.random() < 0.1:
        return In(random.choice(NAMES))
    if random.random() < 0.3:
        return Not(random_tree(random, depth - 1))
    left, right = random_tree(random, depth - 1), random_tree(random, depth - 1)
    return And(left, right) if random.random() < 0.5 else Or(left, right)
