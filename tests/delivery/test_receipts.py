"""Receipt tokens: good for one push on one device, and made by this installation alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.receipts import ReceiptError, Receipts
from storage.ids import new_id

RECEIPTS = Receipts(b"k" * 32)


@given(st.text(max_size=255))
def test_a_token_names_its_push_and_device(analytics_uid: str) -> None:
    if not analytics_uid.isascii():
        analytics_uid = analytics_uid.encode("utf-8", "replace").decode()
    device_id = new_id()
    token = RECEIPTS.token(analytics_uid, device_id)
    assert RECEIPTS.read(token) == (analytics_uid, device_id)
    assert token.replace("-", "").replace("_", "").isalnum()


@given(st.text(max_size=100))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ReceiptError):
        RECEIPTS.read(text)


def test_no_letter_of_a_token_can_be_changed() -> None:
    token = RECEIPTS.token("spring sale", new_id())
    for place, letter in enumerate(token):
        changed = token[:place] + ("A" if letter != "A" else "B") + token[place + 1 :]
        with pytest.raises(ReceiptError):
            RECEIPTS.read(changed)


def test_a_token_of_another_installation_is_refused() -> None:
    with pytest.raises(ReceiptError):
        Receipts(b"x" * 32).read(RECEIPTS.token("a", new_id()))
