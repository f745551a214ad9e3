"""How the recipients of a batch share requests, whatever batch it is."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from delivery.providers.webhook_message import Bodies, WebhookMessage, parts_of, read, recipient_ids, request_id
from delivery.providers.webhook_reactions import refused_of
from tests.delivery.providers.sending import batch_of


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 20))
def test_each_recipient_is_in_one_request_that_carries_its_payload(payloads: list[int], size: int) -> None:
    messages = [WebhookMessage(msgspec.Raw(b"%d" % payload)) for payload in range(4)]
    each = [messages[payload] for payload in payloads]
    batch = batch_of(len(payloads))
    parts = parts_of(len(payloads), size, each)
    ids = recipient_ids(batch)
    bodies = [json.loads(body) for body in Bodies(batch, parts, ids, each, many=True)]
    assert all(0 < len(part) <= size for part in parts)
    sent = {r["id"]: (r["token"], body["payload"]) for body in bodies for r in body["recipients"]}
    assert sum(map(len, parts)) == len(sent) == len(payloads)
    assert sent == {ids[n]: (batch.tokens[n].decode(), payload) for n, payload in enumerate(payloads)}


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), min_size=1, unique=True))
def test_no_two_recipients_share_a_name_and_any_string_arrives(tokens: list[str]) -> None:
    batch = batch_of(len(tokens), tokens=[token.encode() for token in tokens])
    ids = recipient_ids(batch)
    assert len(set(ids)) == len(tokens)
    bodies = Bodies(batch, parts_of(len(tokens), 1, None), ids, [read(b'{"payload":1}')], many=False)
    assert [json.loads(body)["recipient"]["token"] for body in bodies] == tokens
    assert [json.loads(body)["recipient"]["token"] for body in bodies[1:]] == tokens[1:]


def test_a_request_for_one_is_called_as_its_message() -> None:
    ids = recipient_ids(batch_of(3))
    assert request_id(ids[:1]) == ids[0]
    assert len({request_id(ids), request_id(ids[:2]), *ids}) == 5


@given(st.binary())
def test_whatever_a_receiver_answers_can_be_read_or_says_nothing(body: bytes) -> None:
    assert not refused_of(body)
