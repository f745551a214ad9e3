"""Messages that a device took twice are found in a run of any length."""

from emulators.apns import ApnsEmulator
from emulators.deliveries import Deliveries, Delivery
from tests.emulators.wire import TOKEN, WireClient

OTHER = "cd" * 32
ID = "01920000-1234-7abc-8def-0123456789ab"


def test_the_same_message_to_the_same_token_is_a_duplicate() -> None:
    seen = Deliveries(window=10)
    for token, message in (("a", "1"), ("a", "2"), ("b", "1"), ("a", "1"), ("a", "1")):
        seen.accepted(token, message)
    assert list(seen.doubled()) == [Delivery("a", "1", 3)]
    assert (seen.duplicates, seen.forgotten) == (2, 0)


def test_what_was_long_ago_is_forgotten_and_counted() -> None:
    seen = Deliveries(window=10)
    for number in range(35):
        seen.accepted("a", str(number))
    assert seen.forgotten == 20
    seen.accepted("a", "20")
    seen.accepted("a", "0")
    assert list(seen.doubled()) == [Delivery("a", "20", 2)]


async def test_only_what_was_accepted_twice_is_a_duplicate(apns: ApnsEmulator, device: WireClient) -> None:
    apns.set_faults([{"match": {"count": 1}, "action": {"status": 503}}])
    for _ in range(3):
        await device.pushed(apns_id=ID)
    await device.pushed(OTHER, apns_id=ID)
    assert apns.counters().duplicate_deliveries == 1
    assert apns.arrivals().deliveries == [Delivery(TOKEN, ID, 2)]
    apns.reset()
    assert apns.arrivals().deliveries == []
