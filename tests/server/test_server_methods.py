from dataclasses import replace
from typing import Any

import msgspec
import pytest

from delivery.queues.hints import Hints
from methods.all import TABLE
from methods.context import Caller, ServerFacts
from server.dispatcher import Dispatcher, Resources
from storage.database import Database
from storage.vault import Vault


@pytest.fixture
def resources(database: Database, vault: Vault, hints: Hints, facts: ServerFacts) -> Resources:
    return Resources(database, vault, hints, facts)


async def _ask(resources: Resources, name: str, params: Any) -> Any:
    reply = await Dispatcher(TABLE, resources, dict).execute(Caller("tests"), name, msgspec.json.encode(params))
    assert isinstance(reply, bytes)
    return msgspec.json.decode(reply)


async def test_info_names_every_method_of_the_table(resources: Resources) -> None:
    answer = await _ask(resources, "info", {})
    assert sorted(name for names in answer["methods"].values() for name in names) == sorted(TABLE)


async def test_info_says_nothing_of_emulators_where_there_are_none(resources: Resources) -> None:
    assert {"emulators", "warning"} & (await _ask(resources, "info", {})).keys() == set()


async def test_info_says_loudly_that_providers_are_emulated(resources: Resources) -> None:
    emulators = {"fcm": "http://127.0.0.1:1", "apns": "http://127.0.0.1:2"}
    await resources.database.execute(
        b"insert into credentials (provider_id, provider, is_default, source, settings, secrets)"
        b" select p, p, true, 'emulator', '{}', '' from unnest('{fcm,apns}'::text[]) p",
        {},
    )
    answer = await _ask(replace(resources, facts=replace(resources.facts, emulators=emulators)), "info", {})
    assert answer["emulators"] == emulators
    assert answer["warning"] == "EMULATED PROVIDERS (apns, fcm): their pushes reach no real device"


async def test_info_says_nothing_of_emulators_once_a_real_credential_has_ended_them(resources: Resources) -> None:
    facts = replace(resources.facts, emulators={"fcm": "http://127.0.0.1:1"})
    assert "emulators" not in await _ask(replace(resources, facts=facts), "info", {})


async def test_a_parallel_batch_answers_in_the_order_of_its_commands(resources: Resources) -> None:
    commands: list[dict[str, Any]] = [{"info": {}} if number % 3 else {f"nope{number}": {}} for number in range(40)]
    answer = await _ask(resources, "batch", {"commands": commands, "parallel": True})
    for number, reply in enumerate(answer["replies"]):
        if number % 3:
            assert "info" in reply
        else:
            assert reply["error"]["data"]["detail"] == f"there is no method 'nope{number}'"
