"""docs/payloads.md: its tables name every neutral field, and its examples come out as it says."""

import re
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from delivery.providers.payloads import check as check_payload
from delivery.rendering.build import Defaults, build
from delivery.rendering.neutral import Neutral, check, read

PAGE = (Path(__file__).parents[3] / "docs" / "payloads.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^`(\w+)`(.*):\n\n((?: {4}.*\n)+)", re.MULTILINE)


class Example(NamedTuple):
    """What the page shows: a notification, and what a provider gets of it under some circumstances."""

    notification: str
    provider: str
    circumstances: str
    member: str


def examples() -> list[Example]:
    found, notification = [], ""
    for name, circumstances, text in _BLOCK.findall(PAGE):
        if name == "notification":
            notification = text
        else:
            found.append(Example(notification, name, circumstances, text))
    return found


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.provider + example.circumstances)
def test_an_example_of_the_page_is_true(example: Example) -> None:
    members = msgspec.json.decode(example.notification, type=dict[str, msgspec.Raw])
    neutral = read(members)
    assert neutral is not None
    check(neutral)
    own = bytes(members[example.provider]) if example.provider in members else None
    counted = re.search(r"badge counter at (\d+)", example.circumstances)
    options = Defaults(include_notification="`include_notification: false`" not in example.circumstances)
    badge = int(counted[1]) if counted else None
    made = build(example.provider, neutral, own, sent_at=_sent_at(), badge=badge, options=options)
    assert made is not None
    check_payload(example.provider, made)
    assert msgspec.json.decode(made) == msgspec.json.decode(example.member)


def test_the_page_has_an_example_for_every_provider() -> None:
    assert {example.provider for example in examples()} == {"apns", "fcm", "hms", "webpush", "webhook"}


@pytest.mark.parametrize("section", ["The fields", "What they become"])
def test_a_table_of_the_page_names_every_field(section: str) -> None:
    table = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named == set(Neutral.__struct_fields__)


def _sent_at() -> float:
    found = re.search(r"^All examples are sent at (\d+)", PAGE, re.MULTILINE)
    assert found is not None
    return float(found[1])
