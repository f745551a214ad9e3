"""Identifiers: their form and their order."""

import time
from uuid import UUID

from storage.ids import as_id, known_form, new_id


def test_a_new_id_is_a_uuid_of_version_7_with_the_present_time() -> None:
    before = time.time_ns() // 1_000_000
    made = UUID(new_id())
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_made_one_after_another_sort_in_that_order() -> None:
    made = [new_id() for _ in range(1000)]
    assert made == sorted(made)


def test_no_two_ids_are_the_same() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_a_text_that_is_no_uuid_names_nothing() -> None:
    known = new_id()
    assert as_id(known.upper()) == known
    assert [as_id(text) for text in ("", "x" * 36, known.replace("-", ""), known + "0")] == [None] * 4
    assert known_form(["", known.upper(), "x" * 36]) == [known]
