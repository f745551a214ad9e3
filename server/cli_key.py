"""`tocsin key`: makes, lists and revokes the keys of the API, on the database itself."""

import argparse
from datetime import UTC, datetime
from typing import IO, Any

import msgspec

from methods.all import TABLE
from methods.callers import Caller
from methods.errors import ApiError, ConflictError, NotFoundError
from methods.groups import GROUPS
from methods.keys import KeyCreateParams, KeyItem, create_key, items
from server import cli_vapid
from storage import api_keys
from storage.database import Database

_TEXT = """\
Makes, lists and revokes the keys of the API. A key is shown once, when it is made. A running server
notices a new and a revoked key within seconds. docs/keys.md tells what a key may be bound to. `vapid`
makes a pair for Web Push instead, which is no key of the API.

examples:
  tocsin key create backend
  tocsin key create sender --methods @send,info --credentials shop-ios,shop-android --rate 50 --burst 200
  tocsin key create partner --addresses 192.0.2.0/24,2001:db8::/32 --expires-at 2027-12-31
  tocsin key create backend-2 --replaces backend --overlap-s 86400
  tocsin key list
  tocsin key revoke backend
  tocsin key vapid"""

_SECONDS = "Unix seconds, or a date or time of UTC, as 2027-12-31 or 2027-12-31T18:00"


class ApiKeyError(Exception):
    """A key cannot be made or revoked; the text says why."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", form: Any) -> None:
    """Add `key` to the command line."""
    key = commands.add_parser(
        "key", help="make, list and revoke API keys; make VAPID pairs", description=_TEXT, formatter_class=form
    )
    actions = key.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_create(actions.add_parser("create", help="make a key and print it"))
    actions.add_parser("revoke", help="make a key invalid").add_argument("name", help="name of the key")
    actions.add_parser("list", help="list the keys")
    cli_vapid.add_action(actions, form)


def _add_create(create: argparse.ArgumentParser) -> None:
    groups = ", ".join(GROUPS)
    create.add_argument("name", help="name of the key")
    create.add_argument("--methods", type=_names, help=f"the only methods it may call, and groups of them ({groups})")
    create.add_argument("--credentials", type=_names, help="the only credentials it may use: their provider_ids")
    create.add_argument("--addresses", type=_names, help="the only networks it may be used from, as 10.0.0.0/8")
    create.add_argument("--rate", type=float, help="most calls a second, in each API process")
    create.add_argument("--burst", type=int, help="most calls at once (default: the rate)")
    create.add_argument("--expires-at", type=_time, metavar="TIME", help=f"when it ends: {_SECONDS}")
    create.add_argument("--replaces", metavar="NAME", help="a key that ends when the overlap is over")
    create.add_argument("--overlap-s", type=int, metavar="SECONDS", help="how long both are valid (default: a day)")


async def run(database: Database, given: argparse.Namespace, out: IO[str]) -> int:
    """Run the action; the exit code. Raises ApiKeyError."""
    if given.action == "list":
        for item in await items(database):
            out.write(_line(item))
    elif given.action == "create":
        out.write(f"{await _create(database, given)}\n")
    elif not await api_keys.revoke(database, given.name):
        raise ApiKeyError(f"there is no valid key named {given.name}: see `tocsin key list`")
    return 0


async def _create(database: Database, given: argparse.Namespace) -> str:
    named = {name: getattr(given, name) for name in KeyCreateParams.__struct_fields__}
    try:
        params = msgspec.convert({name: value for name, value in named.items() if value is not None}, KeyCreateParams)
        return (await create_key(database, Caller("command line"), TABLE, params)).key
    except ConflictError:
        raise ApiKeyError(f"there is a key named {given.name}: revoke it first, or choose another name") from None
    except NotFoundError:
        raise ApiKeyError(f"there is no valid key named {given.replaces}: see `tocsin key list`") from None
    except ApiError as error:
        raise ApiKeyError(f"{error.path}: {error.detail}") from None
    except msgspec.ValidationError as error:
        raise ApiKeyError(str(error)) from None


def _line(item: KeyItem) -> str:
    facts = [f"created {_day(item.created_at)}", _state(item)]
    if item.last_used_at:
        facts.append(f"used {_day(item.last_used_at)}")
    facts += [
        f"{word} {', '.join(entries)}"
        for word, entries in (("only", item.methods), ("for", item.credentials), ("from", item.addresses))
        if entries
    ]
    if item.rate:
        facts.append(f"{item.rate:g} calls a second, {item.burst} at once")
    return f"{item.name:<30} {'  '.join(facts)}\n"


def _state(item: KeyItem) -> str:
    if item.state == "revoked":
        return f"revoked {_day(item.revoked_at)}"
    if item.state == "expired":
        return f"expired {_day(item.expires_at)}"
    return f"valid until {_day(item.expires_at)}" if item.expires_at else "valid"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _time(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: {_SECONDS}") from None
    return int((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp())


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).date().isoformat()
