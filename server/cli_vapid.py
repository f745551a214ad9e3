"""`tocsin key vapid`: makes the pair of keys by which a web page and the push services know this server."""

import argparse
import shlex
from typing import IO, Any

import msgspec

from delivery.providers.webpush_vapid import generate_pair

_TEXT = """\
Makes a VAPID pair for Web Push and prints it; nothing is stored, and no database is needed. Pages
subscribe with the public key (applicationServerKey), the credential signs with the private one. Keep
both: with another pair every page has to subscribe anew. docs/web-push.md

examples:
  tocsin key vapid
  tocsin key vapid --json --subject mailto:ops@example.com > vapid.json
  tocsin call provider_put - < vapid.json"""

_PLACEHOLDER = "mailto:you@example.com"
_SHOWN = """\
public key   {public_key}
private key  {private_key}

Pages subscribe with the public key, as applicationServerKey. To send with the pair:

  tocsin call provider_put {parameters}

or in the environment of `tocsin serve`:

  TOCSIN_WEBPUSH_PUBLIC_KEY={public_key}
  TOCSIN_WEBPUSH_PRIVATE_KEY={private_key}
  TOCSIN_WEBPUSH_SUBJECT={subject}

The subject is where a push service may write to you, mailto: or https:. Keep both keys: with another
pair every page has to subscribe anew.
"""


def add_action(actions: "argparse._SubParsersAction[argparse.ArgumentParser]", form: Any) -> None:
    """Add `vapid` to `tocsin key`."""
    vapid = actions.add_parser("vapid", help="make a VAPID pair for Web Push", description=_TEXT, formatter_class=form)
    vapid.add_argument("--subject", metavar="URI", help="where a push service may write to: mailto:… or https://…")
    vapid.add_argument("--provider-id", metavar="NAME", default="webpush", help="name of the credential")
    vapid.add_argument("--json", action="store_true", help="print the parameters of provider_put")


def run(given: argparse.Namespace, out: IO[str]) -> int:
    """Make a pair and print it; the exit code."""
    public_key, private_key = generate_pair()
    put = {
        "provider_id": given.provider_id,
        "provider": "webpush",
        "public_key": public_key,
        "private_key": private_key,
    }
    if given.json:
        told = put | ({"subject": given.subject} if given.subject else {})
        out.write(msgspec.json.format(msgspec.json.encode(told), indent=2).decode() + "\n")
        return 0
    put["subject"] = given.subject or _PLACEHOLDER
    parameters = shlex.quote(msgspec.json.encode(put).decode())
    out.write(_SHOWN.format(**put | {"subject": shlex.quote(put["subject"])}, parameters=parameters))
    return 0
