"""JSON merge patch, against the examples of RFC 7396 and what it promises about values that it does not change."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.rendering.merge import MOST_LEVELS, merge, opened, text

RFC_7396 = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', "null", "null"),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396)
def test_the_examples_of_rfc_7396_come_out_as_it_says(target: str, patch: str, result: str) -> None:
    assert merge(msgspec.json.decode(target), msgspec.json.decode(patch)) == msgspec.json.decode(result)


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396)
def test_a_patch_that_was_only_opened_merges_alike(target: str, patch: str, result: str) -> None:
    merged = msgspec.json.encode(merge(msgspec.json.decode(target), opened(patch.encode())))
    assert msgspec.json.decode(merged) == msgspec.json.decode(result)


@given(_JSON, _JSON)
def test_opened_or_decoded_a_patch_does_the_same(target: object, patch: object) -> None:
    merged = msgspec.json.encode(merge(target, opened(msgspec.json.encode(patch))))
    assert msgspec.json.decode(merged) == merge(target, patch)


@given(_JSON, _JSON)
def test_a_merge_twice_is_a_merge_once(target: object, patch: object) -> None:
    assert merge(merge(target, patch), patch) == merge(target, patch)


@given(_JSON, _JSON)
def test_neither_side_of_a_merge_is_changed(target: object, patch: object) -> None:
    before = msgspec.json.encode((target, patch))
    merge(target, patch)
    assert msgspec.json.encode((target, patch)) == before


def test_numbers_and_lists_keep_their_spelling() -> None:
    raw = b' { "a" : 1.0, "b": {"c": 1e400, "d": [ 1 , null ]}, "e": 12345678901234567890123 } '
    merged = msgspec.json.encode(merge({"b": {"x": 1}}, opened(raw)))
    assert merged == b'{"b":{"x":1,"c":1e400,"d":[ 1 , null ]},"a":1.0,"e":12345678901234567890123}'


def test_only_strings_have_text() -> None:
    tree = opened(b'{"s":"a\\u0062","n":1,"o":{},"z":null,"b":"\xff"}')
    assert [text(tree[name]) for name in "snozb"] == ["ab", "", "", "", ""]


def test_objects_are_opened_down_to_a_depth() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' * levels + b"1" + b"}" * levels

    assert isinstance(opened(nested(MOST_LEVELS)), dict)
    with pytest.raises(RecursionError):
        opened(nested(MOST_LEVELS + 1))


@pytest.mark.parametrize("raw", [b"", b"{", b'{"a":}', b"{} {}", b'{"a":1,}'])
def test_what_is_no_json_is_not_opened(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        opened(raw)
