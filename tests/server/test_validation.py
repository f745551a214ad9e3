from typing import Annotated, Literal

import msgspec
import pytest

from methods.context import Context
from methods.errors import BadRequestError
from methods.method import Empty, Method, Params, declare
from server.validation import MAX_DEPTH, decode


class Inner(msgspec.Struct):
    text: str
    kinds: list[Literal["a", "b"]] | None = None


_C_OF_A_B = "invalid enum value 'c'; expected a or b"


class Sample(Params):
    number: int
    inner: Inner | None = None
    names: dict[str, str] | None = None
    numbers: list[int] | None = None
    short: Annotated[str, msgspec.Meta(max_length=3)] | None = None
    raw: msgspec.Raw = msgspec.Raw(b"null")
    ratio: float | None = None
    level: Literal["low", "middle", "high"] | None = None
    named: dict[str, Inner] | None = None
    size: Annotated[Literal[1, 2], msgspec.Meta(description="annotated")] | None = None


async def sample(ctx: Context, params: Sample) -> Empty:
    """Take a sample."""
    return Empty()


@pytest.fixture(scope="module")
def method() -> Method:
    return declare(sample)


REFUSALS = [
    (b"{}", "number", "number is required"),
    (b'{"number":null}', "number", "number is required"),
    (b'{"number":1.0}', "number", "expected an integer, got a number"),
    (b'{"number":"10"}', "number", "expected an integer, got a string"),
    (b'{"number":true}', "number", "expected an integer, got true or false"),
    (b'{"number":1e2}', "number", "expected an integer, got a number"),
    (b'{"number":9223372036854775808}', "number", "an integer must fit into 64 bits"),
    (b'{"number":-9223372036854775809}', "number", "an integer must fit into 64 bits"),
    (b'{"number":1,"numbers":[1,18446744073709551616]}', "numbers[1]", "an integer must fit into 64 bits"),
    (b'{"number":1,"inner":{}}', "inner.text", "text is required"),
    (b'{"number":1,"inner":{"text":null}}', "inner.text", "text is required"),
    (b'{"number":1,"inner":[]}', "inner", "expected an object, got a list"),
    (b'{"number":1,"inner":{"text":"","kinds":["c"]}}', "inner.kinds[0]", "invalid enum value 'c'; expected a or b"),
    (b'{"number":1,"level":"x"}', "level", "invalid enum value 'x'; expected high, low or middle"),
    (b'{"number":1,"level":"x` at `$.y"}', "level", "invalid enum value 'x` at `$.y'; expected high, low or middle"),
    (b'{"number":1,"named":{"a":{"text":"","kinds":["c"]}}}', "named[...].kinds[0]", _C_OF_A_B),
    (b'{"number":1,"size":3}', "size", "invalid enum value 3; expected 1 or 2"),
    (b'{"number":1,"names":{"a":1}}', "names[...]", "expected a string, got an integer"),
    (b'{"number":1,"short":"long"}', "short", "expected a string of length <= 3"),
    (b'{"number":1,"ratio":1e999}', "ratio", "number out of range"),
    (b"[]", "", "expected an object, got a list"),
    (b'{"Number":1}', "number", "number is required"),
]


@pytest.mark.parametrize(("body", "path", "detail"), REFUSALS)
def test_a_refusal_says_what_is_wrong_and_where(method: Method, body: bytes, path: str, detail: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        decode(method, body)
    assert (caught.value.path, caught.value.detail) == (path, detail)


@pytest.mark.parametrize("number", [9223372036854775807, -9223372036854775808, 0])
def test_an_integer_of_64_bits_passes(method: Method, number: int) -> None:
    params = decode(method, b'{"number":%d}' % number)
    assert isinstance(params, Sample)
    assert params.number == number


def test_long_numbers_in_strings_and_payloads_are_left_alone(method: Method) -> None:
    body = b'{"number":1,"short":null,"raw":{"n":99999999999999999999},"names":{"a":"99999999999999999999"}}'
    params = decode(method, body)
    assert isinstance(params, Sample)
    assert bytes(params.raw) == b'{"n":99999999999999999999}'


def test_null_means_absent(method: Method) -> None:
    assert decode(method, b'{"number":1,"inner":null,"names":null,"ratio":null}') == decode(method, b'{"number":1}')


def test_the_last_of_two_members_counts(method: Method) -> None:
    params = decode(method, b'{"number":1,"number":2}')
    assert isinstance(params, Sample)
    assert params.number == 2


@pytest.mark.parametrize("member", [b"raw", b"unknown", b"inner", b"number"])
@pytest.mark.parametrize("depth", [MAX_DEPTH, 1000, 100_000])
@pytest.mark.parametrize(("begin", "end"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_without_end_is_refused(method: Method, member: bytes, depth: int, begin: bytes, end: bytes) -> None:
    body = b'{"number":1,"%b":%b1%b}' % (member, begin * depth, end * depth)
    with pytest.raises(BadRequestError):
        decode(method, body)


def test_many_brackets_side_by_side_are_no_nesting(method: Method) -> None:
    assert decode(method, b'{"number":1,"raw":[%b[]]}' % (b'[{"a":[]}],' * 1000))


@pytest.mark.parametrize("text", [b"\\u0000", b"a\\u0000b", b"\\\\\\u0000"])
@pytest.mark.parametrize(
    "place", [b'{"number":1,"short":"%b"}', b'{"number":1,"raw":{"x":["%b"]}}', b'{"number":1,"x":"%b"}']
)
def test_a_nul_character_is_refused_wherever_it_is(method: Method, text: bytes, place: bytes) -> None:
    with pytest.raises(BadRequestError):
        decode(method, place % text)


def test_an_escaped_backslash_before_u0000_is_text(method: Method) -> None:
    assert decode(method, b'{"number":1,"raw":"\\\\u0000"}')
