"""Which neutral fields are read, what is refused of them and where the error points."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.rendering.neutral import Neutral, NeutralError, Sound, check, read
from tests.delivery.rendering.neutral_fields import encoded, read_ones


def notification(text: str) -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(text, type=dict[str, msgspec.Raw])


def checked(**fields: Any) -> None:
    neutral = read(encoded(fields))
    assert neutral is not None
    check(neutral)


@pytest.mark.parametrize("text", ["{}", '{"title": null , "message":null}', '{"fcm":{"title":"x"},"expire_at":1}'])
def test_a_notification_without_neutral_fields_reads_as_none(text: str) -> None:
    assert read(notification(text)) is None


def test_null_is_absent_and_other_members_are_left_alone() -> None:
    assert read(notification('{"title":"a","body":null,"fcm":[],"new":{}}')) == Neutral(title="a")


def test_message_is_another_name_of_body() -> None:
    assert read(notification('{"message":"a"}')) == Neutral(body="a")
    assert read(notification('{"message":"a","body":null}')) == Neutral(body="a")


def test_body_and_message_together_are_refused() -> None:
    with pytest.raises(NeutralError) as caught:
        read(notification('{"message":"a","body":"a"}'))
    assert caught.value.path == "notification.message"


def test_a_sound_is_a_name_or_an_object() -> None:
    assert read(notification('{"sound":"chime"}')) == Neutral(sound="chime")
    sound = read(notification('{"sound":{"name":null,"critical":true,"volume":1,"new":0}}'))
    assert sound == Neutral(sound=Sound(critical=True, volume=1.0))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", 1),
        ("message", {"title": "secret"}),
        ("sound", True),
        ("sound", {"volume": 1.5}),
        ("sound", {"name": 7}),
        ("badge", -1),
        ("badge", 1.0),
        ("badge", True),
        ("badge", "7"),
        ("badge", "{{ device.meta.unread }}"),
        ("badge", 2**31),
        ("data", {"a": 1}),
        ("data", ["secret"]),
        ("ttl", -1),
        ("ttl", 1.0),
        ("ttl", "60"),
        ("priority", "urgent"),
        ("background", 1),
        ("mutable", "true"),
    ],
)
def test_a_value_of_another_kind_is_named_but_not_repeated(field: str, value: Any) -> None:
    with pytest.raises(NeutralError) as caught:
        read(encoded({field: value}))
    assert caught.value.path == f"notification.{field}"
    assert "expected" in caught.value.detail
    assert "secret" not in caught.value.detail
    assert "urgent" not in caught.value.detail


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"background": True, "title": "x"}, "title"),
        ({"background": True, "subtitle": "x"}, "subtitle"),
        ({"background": True, "body": "x"}, "body"),
        ({"background": True, "sound": "default"}, "sound"),
        ({"background": True, "badge": 0}, "badge"),
        ({"background": True, "badge": "auto"}, "badge"),
        ({"background": True, "image": "https://example.com/a.png"}, "image"),
        ({"background": True, "mutable": True}, "mutable"),
        ({"background": True, "priority": "high"}, "priority"),
        ({"subtitle": "x", "badge": 1}, "subtitle"),
        ({"image": "https://example.com/a.png", "sound": "x"}, "image"),
        ({"mutable": True, "data": {"a": "b"}}, "mutable"),
        ({"title": "x", "sound": {"name": "a", "volume": 0.5}}, "sound"),
        ({"title": "x", "image": "http://example.com/a.png"}, "image"),
        ({"title": "x", "image": "https://"}, "image"),
        ({"title": "x", "image": "https://example.com/a b"}, "image"),
        ({"title": "x", "url": "/orders/5"}, "url"),
        ({"title": "x", "url": "https://example.com/\n"}, "url"),
        ({"title": "x", "collapse_key": "k" * 65}, "collapse_key"),
        ({"title": "x", "collapse_key": "ж" * 33}, "collapse_key"),
        ({"title": "x", "data": {"aps": "x"}}, "data"),
        ({"title": "x", "data": {"from": "x"}}, "data"),
        ({"title": "x", "data": {"message_type": "x"}}, "data"),
        ({"title": "x", "data": {"google.a": "x"}}, "data"),
        ({"title": "x", "data": {"gcm.notification.a": "x"}}, "data"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_stands(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(NeutralError) as caught:
        checked(**fields)
    assert caught.value.path == f"notification.{path}"


@pytest.mark.parametrize(
    "fields",
    [
        {"ttl": 60},
        {"priority": "high", "collapse_key": "x"},
        {"title": "", "body": ""},
        {"data": {}},
        {"background": False},
    ],
)
def test_a_push_with_nothing_in_it_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(NeutralError) as caught:
        checked(**fields)
    assert caught.value.path == "notification"


@pytest.mark.parametrize(
    "fields",
    [
        {"title": "x"},
        {"badge": 0},
        {"badge": "auto"},
        {"sound": "default"},
        {"sound": {}},
        {"data": {"a": "b"}, "priority": "high"},
        {"background": True},
        {"background": True, "title": "", "priority": "normal", "data": {"a": "b"}, "ttl": 0},
        {"body": "x", "subtitle": "y", "image": "https://example.com/a.png", "mutable": False},
        {"body": "x", "url": "myapp://open/5"},
        {"body": "x", "collapse_key": "ж" * 32},
        {"body": "x", "data": {"sender": "a", "message": "b", "Google": "c"}},
        {"title": "x", "sound": {"critical": True, "volume": 0}},
        {"title": "x", "ttl": 10**30},
    ],
)
def test_what_makes_sense_passes(fields: dict[str, Any]) -> None:
    checked(**fields)


def test_template_text_is_judged_only_when_it_is_rendered() -> None:
    long = "{{ device.meta.subject }}" + "x" * 64
    checked(title="x", collapse_key=long, image="{{ l10n.image }}", url="{{ device.meta.page }}")
    with pytest.raises(NeutralError):
        checked(title="x", collapse_key=long.replace("{{", ""))


def test_nothing_of_a_notification_is_in_its_representation() -> None:
    assert repr(Neutral(title="secret", badge=1)) == "Neutral(fields=2)"


@given(read_ones)
def test_what_was_read_is_read_again_from_its_own_json(neutral: Neutral) -> None:
    again = read(notification(msgspec.json.encode(neutral).decode()))
    assert (again or Neutral()) == neutral


@given(st.dictionaries(st.sampled_from([*Neutral.__struct_fields__, "message"]), st.binary(max_size=8)))
def test_whatever_the_bytes_are_only_one_kind_of_error_is_raised(members: dict[str, bytes]) -> None:
    with contextlib.suppress(NeutralError):
        check(read({name: msgspec.Raw(value) for name, value in members.items()}) or Neutral(title="x"))
