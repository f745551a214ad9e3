"""docs/credentials.md, docs/web-push.md and docs/hms.md: fields, variables, codes and examples are what there is."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from delivery.providers import hms_reactions, webpush_payload
from delivery.providers.credential_fields import CredentialFields
from delivery.providers.declared import VARIABLES
from delivery.providers.payloads import check
from delivery.providers.webpush_encryption import MAX_PLAINTEXT_BYTES

DOCS = Path(__file__).parents[3] / "docs"
PAGES = {name: (DOCS / name).read_text(encoding="utf-8") for name in ("credentials.md", "web-push.md", "hms.md")}
_VARIABLE = re.compile(r"TOCSIN_(?:APNS|FCM|WEBPUSH|HMS|WEBHOOK)_[A-Z_]+")
_MEMBER = re.compile(r'^    \{"notification": (\{"(webpush|hms)": \{.*?\}+)\}$', re.MULTILINE | re.DOTALL)


def test_every_field_of_a_credential_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`.*?) \| .* \|$", PAGES["credentials.md"], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    webhooks = {"url", "secret", "batched", "batch_recipients", "timeout_seconds"}  # docs/webhook-provider.md
    assert set(CredentialFields.__struct_fields__) - webhooks <= named


@pytest.mark.parametrize("name", PAGES)
def test_every_variable_of_a_page_is_read(name: str) -> None:
    named = set(_VARIABLE.findall(PAGES[name])) - {"TOCSIN_WEBPUSH_ORIGINS"}
    assert named <= VARIABLES


def test_every_code_of_huawei_on_the_page_has_a_reaction() -> None:
    codes = set(re.findall(r"`(8\d{7})`", PAGES["hms.md"]))
    assert codes
    assert codes <= set(hms_reactions.TABLE)


def test_the_sizes_on_the_pages_are_those_that_are_checked() -> None:
    assert f"{MAX_PLAINTEXT_BYTES:,} bytes of payload" in PAGES["web-push.md"]
    assert f"{webpush_payload.MAX_TTL_SECONDS // 86_400} days at most" in PAGES["web-push.md"]


@pytest.mark.parametrize("name", ["web-push.md", "hms.md"])
def test_a_payload_of_a_page_is_taken(name: str) -> None:
    ((text, provider),) = _MEMBER.findall(PAGES[name])
    member = json.loads(text)[provider]
    check(provider, msgspec.json.encode(member))
