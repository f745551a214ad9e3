import pytest

from server.envelopes import (
    MalformedError,
    Plain,
    Refused,
    Strict,
    StrictArray,
    bare,
    parse,
    parse_params,
    plain,
)


def test_params_are_the_bytes_that_came_in() -> None:
    raw = b'{"b" : 1.0e2,"a":[1, 2],"\\u00e9":"\xc3\xa9"}'
    assert parse(b'{"method":"m", "params" : ' + raw + b"}") == [Plain("m", raw, b"")]


def test_a_method_name_may_be_escaped() -> None:
    assert parse(b'{"\\u006dethod":"\\u006d"}') == [Plain("m", b"", b"")]


def test_jsonrpc_makes_a_call_strict() -> None:
    (document,) = parse(b'{"jsonrpc":"2.0","method":"m"}')
    assert isinstance(document, Strict)


def test_an_array_is_strict() -> None:
    (document,) = parse(b' [{"method":"m"}, 5]')
    assert isinstance(document, StrictArray)
    assert [item.envelope is None for item in document.items] == [False, True]


@pytest.mark.parametrize("between", [b"", b"\n", b"\r\n", b" \t "])
def test_a_stream_is_cut_where_objects_end(between: bytes) -> None:
    body = between.join([b'{"method":"a","params":{"x":"}{\\\\"}}', b'{"method":"b"}'])
    assert parse(body) == [Plain("a", b'{"x":"}{\\\\"}', b""), Plain("b", b"", b"")]


@pytest.mark.parametrize(
    "body", [b'{"method":"a"} x', b'{"method":"a"},{"method":"b"}', b'{"method":"a"}{', b"{}]", b"5 5"]
)
def test_anything_else_between_objects_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(body)
    assert not caught.value.strict


@pytest.mark.parametrize("body", [b"[", b' \n[{"a":', b'{"jsonrpc":"2.0"', b'{ "id":1,\n"jsonrpc" : "2.0", "method":}'])
def test_what_begins_like_strict_is_refused_like_strict(body: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(body)
    assert caught.value.strict


def test_a_value_that_is_no_object_is_no_call() -> None:
    (document,) = parse(b"true")
    assert isinstance(document, Refused)


def test_an_empty_body_means_no_params() -> None:
    assert parse_params(b" \n") == b""


def test_half_a_surrogate_pair_becomes_what_the_check_of_texts_refuses() -> None:
    assert parse_params(b'{"a":"\\ud83d\\\\","b":"\\\\ud83d"}') == b'{"a":"\\u0000\\\\","b":"\\\\ud83d"}'


def test_whole_surrogate_pairs_stay() -> None:
    body = b'{"a":"\\ud83d\\uDE00\\\\\\uD83D\\ude01"}'
    assert parse_params(body) == body


def test_replies_are_written_around_the_bytes_of_the_result() -> None:
    assert plain(b'{"a":1}', b"[1.0]") == b'{"id":[1.0],"result":{"a":1}}'
    assert bare(b'{"replies":[]}') == b'{"replies":[]}'
