"""Pushes that are made for their recipients: what the providers get, through the whole engine."""

from typing import Any

import pytest

from delivery.providers.credentials import parse_credential
from delivery.receipts import ReceiptError, Receipts
from emulators.apns import ApnsEmulator
from emulators.emulator import Emulator
from emulators.fcm import FcmEmulator
from storage import credentials
from tests.delivery.providers.sending import apns_params, fcm_params
from tests.delivery.world import World, ledger

TEST = {"channels": ["test"]}
META = {"use_templating": True, "use_meta": True}
TEXTS = {
    "de": {"translations": {"hi": "Grüß dich", "bye": "Tschüß"}},
    "de-AT": {"translations": {"hi": "Servus"}},
    "pt": {"translations": {"hi": 'Olá "tu" 🎉'}},
    "default": {"translations": {"hi": "Hi", "bye": "Bye"}},
}


@pytest.fixture
def apns(apns_emulator: ApnsEmulator) -> ApnsEmulator:
    return apns_emulator


@pytest.fixture
def fcm(fcm_emulator: FcmEmulator) -> FcmEmulator:
    return fcm_emulator


def arrived(emulator: Emulator) -> dict[str, Any]:
    """The payload that each token got; each got one."""
    requests = [request for request in emulator.requests(limit=1000) if request.token]
    assert len({request.token for request in requests}) == len(requests)
    return {request.token: request.payload for request in requests}


async def sent(world: World, **params: Any) -> dict[str, Any]:
    """Send with a worker; the status of the push that is done, its ledger checked to sum."""
    async with world.worker():
        status = await world.reached(await world.send(**({"recipient": TEST} | params)), "done")
    ledger(status)
    return status


async def test_each_device_gets_what_its_own_values_make(world: World, apns: ApnsEmulator, fcm: FcmEmulator) -> None:
    names = {"aa": 'Ann "the\\" one"', "bb": "Боб 🎉\n", "cc": '","aps":{}', "dd": "{{device.id}}", "ee": ""}
    for token, name in names.items():
        await world.device(token, user_id=f"user {token}", meta={"name": name})
        await world.device("f" + token, provider="fcm", platform="android", meta={"name": name})
    notification = {
        "title": "{{device.meta.name | default('friend')}}!",
        "data": {"u": "{{.device.user | default('-')}}"},
    }
    status = await sent(world, notification=notification, **META)
    assert ledger(status) == {"planned": 10, "accepted": 10}
    expected = {token: (name or "friend") + "!" for token, name in names.items()}
    payloads = arrived(apns)
    assert {token: each["aps"]["alert"]["title"] for token, each in payloads.items()} == expected
    assert {token: each["u"] for token, each in payloads.items()} == {token: f"user {token}" for token in names}
    messages = arrived(fcm)
    assert {token[1:]: each["message"]["notification"]["title"] for token, each in messages.items()} == expected


async def test_each_locale_gets_its_own_texts_and_falls_back(world: World, apns: ApnsEmulator) -> None:
    locales = {"aa": "de-AT", "bb": "de-CH", "cc": "pt-BR", "dd": "fr", "ee": "", "ff": "DE_at"}
    for token, locale in locales.items():
        await world.device(token, locale=locale)
    notification = {"apns": {"payload": {"aps": {"alert": "{{l10n.hi}}/{{l10n.bye}}"}}}}
    status = await sent(world, notification=notification, localizations=TEXTS)
    assert ledger(status) == {"planned": 6, "accepted": 6}
    assert {token: payload["aps"]["alert"] for token, payload in arrived(apns).items()} == {
        "aa": "Servus/Tschüß",
        "bb": "Grüß dich/Tschüß",
        "cc": 'Olá "tu" 🎉/Bye',
        "dd": "Hi/Bye",
        "ee": "Hi/Bye",
        "ff": "Servus/Tschüß",
    }


async def test_headers_may_differ_between_locales(world: World, apns: ApnsEmulator) -> None:
    await world.device("aa", locale="de")
    await world.device("bb", locale="en")
    texts = {"de": {"translations": {"key": "eins"}}, "": {"translations": {"key": "one"}}}
    payload = {"headers": {"apns-collapse-id": "{{l10n.key}}-{{push.uid}}"}, "payload": {"aps": {"alert": "x"}}}
    await sent(world, uid="u 1", notification={"apns": payload}, localizations=texts)
    keys = {request.token: request.headers["apns-collapse-id"] for request in apns.requests()}
    assert keys == {"aa": "eins-u 1", "bb": "one-u 1"}


async def test_a_template_that_fails_fails_its_recipient_alone(world: World, apns: ApnsEmulator) -> None:
    for token in ("aa", "bb", "cc"):
        await world.device(token, meta={} if token == "bb" else {"name": token})
    status = await sent(world, notification={"title": "{{device.meta.name}}"}, **META)
    assert ledger(status) == {"planned": 3, "accepted": 2, "failed": 1}
    [reason] = status["reasons"]
    assert (reason["outcome"], reason["reason"], reason["count"]) == ("failed", "TemplateValueMissing", 1)
    assert arrived(apns).keys() == {"aa", "cc"}
    states = await world.database.values(b"select distinct state from devices", {})
    assert states == [("active",)], "it says nothing about the token"


async def test_a_template_that_fails_for_everyone_sends_nothing(world: World, apns: ApnsEmulator) -> None:
    for token in ("aa", "bb"):
        await world.device(token)
    status = await sent(world, notification={"title": "{{device.user}}"}, use_templating=True)
    assert ledger(status) == {"planned": 2, "failed": 2}
    assert apns.counters().requests == 0


async def test_what_is_too_large_for_some_reaches_the_others(
    world: World, apns: ApnsEmulator, fcm: FcmEmulator
) -> None:
    for token, size in (("aa", 10), ("bb", 4200), ("cc", 3000)):
        await world.device(token, meta={"text": "x" * size})
        await world.device("f" + token, provider="fcm", platform="android", meta={"text": "x" * size})
    status = await sent(world, notification={"body": "{{device.meta.text}}"}, **META)
    assert ledger(status) == {"planned": 6, "accepted": 4, "failed": 2}
    assert {(each["provider"], each["reason"], each["count"]) for each in status["reasons"]} == {
        ("apns", "PayloadTooLarge", 1),
        ("fcm", "PayloadTooLarge", 1),
    }
    assert arrived(apns).keys() == {"aa", "cc"}
    assert arrived(fcm).keys() == {"faa", "fcc"}


async def test_a_device_gets_a_receipt_token_that_names_it(world: World, apns: ApnsEmulator) -> None:
    devices = {token: await world.device(token) for token in ("aa", "bb")}
    given = {"notification": {"title": "a", "data": {"receipt": "{{receipt_token}}"}}, "analytics_uid": "campaign ä"}
    await sent(world, use_templating=True, **given)
    receipts = Receipts(world.vault.derived("receipts"))
    tokens = {token: payload["receipt"] for token, payload in arrived(apns).items()}
    assert {token: receipts.read(text) for token, text in tokens.items()} == {
        token: ("campaign ä", device) for token, device in devices.items()
    }
    with pytest.raises(ReceiptError):
        receipts.read(tokens["aa"][:-1] + ("A" if tokens["aa"][-1] != "A" else "B"))


async def test_raw_tokens_that_are_known_here_get_what_their_devices_have(
    world: World, apns: ApnsEmulator, fcm: FcmEmulator
) -> None:
    await world.device("aa", user_id="ann", locale="de", meta={"name": "Ann"})
    await world.device("bb", locale="fr")
    await world.device("cc", provider="fcm", platform="android", user_id="other", locale="de")
    who = "{{device.user | default('-')}} {{device.meta.name | default('-')}} {{device.id | default('-') | truncate 1}}"
    given = {"notification": {"title": "{{l10n.hi}} " + who}, "localizations": TEXTS, "use_meta": True}
    status = await sent(world, recipient={"apns_tokens": ["aa", "BB", "cc", "dd"]}, **given)
    assert ledger(status) == {"planned": 4, "accepted": 4}
    titles = {token: payload["aps"]["alert"]["title"] for token, payload in arrived(apns).items()}
    assert titles == {
        "aa": "Grüß dich ann Ann 0",
        "bb": "Hi - - 0",
        "cc": "Hi - - -",
        "dd": "Hi - - -",
    }
    await sent(world, recipient={"fcm_tokens": ["cc"]}, **given)
    assert arrived(fcm)["cc"]["message"]["notification"]["title"] == "Grüß dich other - 0"


async def test_a_raw_token_is_known_by_either_name_of_the_default_credential(world: World, apns: ApnsEmulator) -> None:
    await world.device("aa", user_id="ann")
    recipient = {"apns_tokens": ["aa"], "provider_id": "main"}
    await sent(
        world, recipient=recipient, notification={"title": "{{device.user | default('-')}}"}, use_templating=True
    )
    assert arrived(apns)["aa"]["aps"]["alert"] == {"title": "ann"}


async def test_what_the_credential_says_of_built_payloads_holds(
    world: World, apns: ApnsEmulator, fcm: FcmEmulator
) -> None:
    for params in (
        apns_params(apns, content_available=True, mutable_content=True),
        fcm_params(fcm, include_notification=False),
    ):
        await credentials.put(world.database, world.vault, parse_credential(params))
    await world.device("aa")
    await world.device("bb", provider="fcm", platform="android")
    await sent(world, notification={"title": "hi"})
    aps = arrived(apns)["aa"]["aps"]
    assert aps == {"alert": {"title": "hi"}, "content-available": 1, "mutable-content": 1}
    message = arrived(fcm)["bb"]["message"]
    assert message["data"] == {"title": "hi"}
    assert "notification" not in message


async def test_the_other_transports_send_each_recipient_its_own_body(
    world: World, apns: ApnsEmulator, fcm: FcmEmulator
) -> None:
    for params in (apns_params(apns, transport="aioapns"), fcm_params(fcm, transport="httpx")):
        await credentials.put(world.database, world.vault, parse_credential(params))
    for number in range(12):
        await world.device(f"{number:02x}", user_id=f"user {number}")
        await world.device(f"f{number:02x}", provider="fcm", platform="android", user_id=f"user {number}")
    status = await sent(world, notification={"title": "{{device.user}}"}, use_templating=True)
    assert ledger(status) == {"planned": 24, "accepted": 24}
    titles = {token: payload["aps"]["alert"]["title"] for token, payload in arrived(apns).items()}
    assert titles == {f"{number:02x}": f"user {number}" for number in range(12)}
    assert {token: each["message"]["notification"]["title"] for token, each in arrived(fcm).items()} == {
        f"f{number:02x}": f"user {number}" for number in range(12)
    }


async def test_a_retry_sends_each_recipient_its_own_body_again(world: World, apns: ApnsEmulator) -> None:
    fault = {"status": 503, "reason": "ServiceUnavailable", "retry_after": 0}
    apns.set_faults([{"match": {"count": 1, "token_prefix": token}, "action": fault} for token in ("02", "05")])
    for number in range(8):
        await world.device(f"{number:02x}", user_id=f"user {number}", locale="de", meta={"n": f"user {number}"})
    notification = {"title": "{{l10n.hi}} {{device.user}}", "data": {"n": "{{device.meta.n}}"}}
    async with world.worker():
        uid = await world.send(recipient=TEST, notification=notification, localizations=TEXTS, use_meta=True)
        assert ledger(await world.reached(uid, "done")) == {"planned": 8, "accepted": 8}
    bodies = [(request.token, request.payload) for request in apns.requests() if request.accepted]
    assert len(bodies) == 8
    for token, payload in bodies:
        user = f"user {int(token, 16)}"
        assert payload == {"aps": {"alert": {"title": f"Grüß dich {user}"}}, "n": user}


async def test_a_push_made_of_a_badge_and_a_ttl_says_so_in_its_headers(world: World, apns: ApnsEmulator) -> None:
    await world.device("aa")
    status = await sent(world, notification={"badge": 3, "ttl": 3600, "priority": "normal", "collapse_key": "k"})
    [request] = apns.requests()
    assert request.payload == {"aps": {"badge": 3}}
    headers = {name: value for name, value in request.headers.items() if name.startswith("apns-")}
    assert headers["apns-push-type"] == "alert"
    assert (headers["apns-priority"], headers["apns-collapse-id"]) == ("5", "k")
    assert int(headers["apns-expiration"]) == status["expire_at"]
