"""Devices with several accounts and with tokens for calls, through the whole engine."""

from typing import Any

import pytest

from emulators.apns import ApnsEmulator
from storage.database import Database
from tests.delivery.test_limited_sends import comes_to
from tests.delivery.world import World

CALL = {"apns": {"headers": {"apns-push-type": "voip", "apns-expiration": "0"}, "payload": {"type": "call"}}}
TEXT = {"apns": {"payload": {"aps": {"alert": "hi"}}}}


@pytest.fixture
def apns(apns_emulator: ApnsEmulator) -> ApnsEmulator:
    return apns_emulator


async def register(world: World, **fields: object) -> str:
    answer = await world.call("device_register", provider="apns", platform="ios", **fields)
    device_id: str = answer["id"]
    return device_id


def arrived(apns: ApnsEmulator) -> dict[str, Any]:
    """What arrived, by token."""
    return {each.token: each.payload for each in apns.requests(limit=10)}


async def test_a_push_says_which_account_it_is_for_and_comes_once(world: World, apns: ApnsEmulator) -> None:
    await register(world, token="aa", user="ann", accounts=["work", "club"])
    await register(world, token="bb", user="work")
    notification = {"title": "For {{ push.account }}"}
    async with world.worker():
        uid = await world.send(recipient={"users": ["work", "club"]}, notification=notification, use_templating=True)
        await comes_to(world, uid, planned=2, accepted=2)
    said = {token: payload["aps"]["alert"]["title"] for token, payload in arrived(apns).items()}
    assert said == {"aa": "For work", "bb": "For work"}
    assert apns.counters().requests == 2


async def test_removing_one_account_leaves_the_others(world: World, apns: ApnsEmulator) -> None:
    device_id = await register(world, token="aa", user="ann", accounts=["work", "club"])
    await world.call("device_accounts_update", device_id=device_id, op="remove", accounts=["work"])
    async with world.worker():
        gone = await world.send(recipient={"users": ["work"]}, notification=TEXT)
        kept = await world.send(recipient={"users": ["club"]}, notification=TEXT)
        await comes_to(world, kept, planned=1, accepted=1)
        assert (await world.reached(gone, "done"))["ledger"]["planned"] == 0


async def test_calls_go_to_the_token_for_calls_and_all_else_to_the_other(
    world: World, apns: ApnsEmulator, database: Database
) -> None:
    await register(world, token="aa", voip_token="ca", user="ann")
    await register(world, token="bb", user="ann")
    async with world.worker():
        call = await world.send(recipient={"users": ["ann"]}, notification=CALL)
        await comes_to(world, call, planned=1, accepted=1)
        text = await world.send(recipient={"users": ["ann"]}, notification=TEXT)
        await comes_to(world, text, planned=2, accepted=2)
    assert sorted(each.token for each in apns.requests(limit=10)) == ["aa", "bb", "ca"]
    [skipped] = (await world.call("push_status", uid=call))["reasons"]
    assert (skipped["outcome"], skipped["reason"]) == ("skipped", "NoToken")


async def test_a_dead_token_for_calls_ends_calls_and_nothing_else(world: World, apns: ApnsEmulator) -> None:
    await register(world, token="aa", voip_token="ca", user="ann")
    await world.database.execute(b"update devices set registered_at = now() - interval '1 hour'", {})
    apns.set_tokens({"ca": {"state": "unregistered", "timestamp_ms": 4_000_000_000_000}})
    async with world.worker():
        call = await world.send(recipient={"users": ["ann"]}, notification=CALL)
        await comes_to(world, call, planned=1, failed=1)
        text = await world.send(recipient={"users": ["ann"]}, notification=TEXT)
        await comes_to(world, text, planned=1, accepted=1)
    rows = await world.database.values(b"select state, voip_state from devices", {})
    assert rows == [("active", "dead")]
