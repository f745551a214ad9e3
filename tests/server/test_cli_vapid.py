"""`tocsin key vapid`: a pair that a credential takes."""

import json
import re
import shlex

from delivery.providers.credentials import parse_credential
from delivery.providers.declared import declared_credentials
from tests.server.conftest import Tocsin


def test_a_pair_is_made_without_a_database(tocsin: Tocsin) -> None:
    code, out, err = tocsin("key", "vapid", database_url="postgresql://nobody@127.0.0.1:1/none")
    assert (code, err) == (0, "")
    public, private = re.findall(r"^(?:public|private) key +(\S+)$", out, re.MULTILINE)
    assert (len(public), len(private)) == (87, 43)
    assert tocsin("key", "vapid")[1] != out


def test_the_command_that_it_shows_puts_the_credential(tocsin: Tocsin) -> None:
    _, out, _ = tocsin("key", "vapid", "--subject", "https://example.com/it's", "--provider-id", "shop")
    (command,) = re.findall(r"^  tocsin call provider_put .*$", out, re.MULTILINE)
    put = json.loads(shlex.split(command)[3])
    new = parse_credential(put)
    assert (new.provider_id, json.loads(new.settings)["subject"]) == ("shop", "https://example.com/it's")
    assert json.loads(new.settings)["public_key"] == put["public_key"] == out.split()[2]


def test_the_variables_that_it_shows_declare_the_credential(tocsin: Tocsin) -> None:
    _, out, _ = tocsin("key", "vapid")
    (new,) = declared_credentials(dict(re.findall(r"^  (TOCSIN_WEBPUSH_\w+)=(\S+)$", out, re.MULTILINE)))
    assert (new.provider_id, new.provider) == ("webpush", "webpush")


def test_its_json_is_what_provider_put_takes(tocsin: Tocsin) -> None:
    put = json.loads(tocsin("key", "vapid", "--json", "--subject", "mailto:ops@example.com")[1])
    assert parse_credential(put).provider_id == "webpush"
    assert "subject" not in json.loads(tocsin("key", "vapid", "--json")[1])
