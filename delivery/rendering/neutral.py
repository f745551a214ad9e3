"""The neutral fields of a notification: what a push says in no provider's own words, and what makes no sense in them.

A string may hold template text (`{{ … }}`) until it is rendered; what can only be said of the rendered string is not
said before. Checking again after rendering says the rest.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from delivery.providers.contract import Defaults

__all__ = ["Defaults", "Neutral", "NeutralError", "Sound", "check", "read"]

MAX_BADGE = 2**31 - 1
MAX_COLLAPSE_KEY_BYTES = 64

_IMAGE = re.compile(r"https://[^\s/?#\x00-\x1f\x7f]+[^\s\x00-\x1f\x7f]*")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[^\s\x00-\x1f\x7f]+")
_RESERVED = re.compile(r"from|message_type|google.*|gcm.*", re.DOTALL)


class NeutralError(Exception):
    """A neutral field that cannot be sent; the text says what to change and holds nothing of the notification."""

    def __init__(self, detail: str, path: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.path = path


class Sound(msgspec.Struct, frozen=True, omit_defaults=True):
    """A sound by its name, and whether it sounds through mute (Apple's critical alerts), with a volume of 0 to 1."""

    name: str | None = None
    critical: bool | None = None
    volume: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class Neutral(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a push says to any device. An empty string, an empty object and null all say nothing."""

    title: str | None = None
    subtitle: str | None = None
    body: str | None = None
    sound: str | Sound | None = None
    badge: Annotated[int, msgspec.Meta(ge=0, le=MAX_BADGE)] | Literal["auto"] | None = None
    image: str | None = None
    data: dict[str, str] | None = None
    url: str | None = None
    category: str | None = None
    thread_id: str | None = None
    collapse_key: str | None = None
    ttl: Annotated[int, msgspec.Meta(ge=0)] | None = None
    priority: Literal["high", "normal"] | None = None
    background: bool | None = None
    mutable: bool | None = None

    def __repr__(self) -> str:
        return f"Neutral(fields={sum(getattr(self, name) is not None for name in self.__struct_fields__)})"

    @property
    def has_text(self) -> bool:
        """Whether there is something to read, without which no platform shows a notification."""
        return bool(self.title or self.body)

    @property
    def is_silent(self) -> bool:
        """Whether nothing is seen or heard of it: because it says so, or because it holds nothing that could be."""
        return bool(self.background) or not (self.has_text or self.sound_name or self.badge is not None)

    @property
    def sound_name(self) -> str:
        """The sound's name, '' without a sound; a sound object without a name means the default sound."""
        if isinstance(self.sound, Sound):
            return self.sound.name or "default"
        return self.sound or ""

    @property
    def badge_count(self) -> int | None:
        """The number on the app's icon; None when there is none, or when it is still to be looked up."""
        return self.badge if isinstance(self.badge, int) else None


_RULES = {
    "sound": 'a name or {"name", "critical": true or false, "volume": 0 to 1} is expected',
    "badge": f'an integer from 0 to {MAX_BADGE}, or "auto", is expected',
    "data": "an object whose values are strings is expected",
    "ttl": "whole seconds are expected, 0 or more",
    "priority": '"high" or "normal" is expected',
    "background": "true or false is expected",
    "mutable": "true or false is expected",
}
_ALIASES = {"message": "body"}
_DECODERS = {field.name: msgspec.json.Decoder(field.type) for field in msgspec.structs.fields(Neutral)}


def read(notification: dict[str, msgspec.Raw]) -> Neutral | None:
    """Read the neutral fields of a notification; None when it has none. Its other members are not looked at.

    `message` is another name of `body`. Raises NeutralError for a value of another type, and when both names are given.
    """
    raws = {name: bytes(notification[name]).strip() for name in (*_DECODERS, *_ALIASES) if name in notification}
    given = {name: raw for name, raw in raws.items() if raw != b"null"}
    if "message" in given and "body" in given:
        raise NeutralError("message is another name of body: give one of them", "notification.message")
    fields = {_ALIASES.get(name, name): _value(name, raw) for name, raw in given.items()}
    return Neutral(**fields) if fields else None


def _value(name: str, raw: bytes) -> Any:
    field = _ALIASES.get(name, name)
    try:
        return _DECODERS[field].decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NeutralError(_RULES.get(field, "a string is expected"), f"notification.{name}") from None


def check(neutral: Neutral, *, alone: bool = True) -> None:
    """Raise NeutralError for combinations that make no sense and values that some provider would certainly refuse.

    `alone`: no provider's own object stands beside, which may hold what these fields lack.
    """
    for name, detail in _problems(neutral):
        if not name and not alone:
            continue
        raise NeutralError(detail, f"notification.{name}" if name else "notification")


def _problems(neutral: Neutral) -> Iterator[tuple[str, str]]:
    """What is wrong, as the field and what to change."""
    if neutral.background:
        yield from _background_problems(neutral)
    elif not neutral.has_text:
        yield from _textless_problems(neutral)
    if isinstance(neutral.sound, Sound) and neutral.sound.volume is not None and not neutral.sound.critical:
        yield "sound", "only a critical sound has a volume: set critical, or leave the volume out"
    yield from _value_problems(neutral)


def _background_problems(neutral: Neutral) -> Iterator[tuple[str, str]]:
    for name in ("title", "subtitle", "body", "sound", "badge", "image"):
        if getattr(neutral, name) not in (None, ""):
            yield name, f"a background push shows nothing: leave out {name}, or background"
    if neutral.mutable:
        yield "mutable", "a background push shows nothing that the app could change: leave out mutable, or background"
    if neutral.priority == "high":
        yield "priority", "Apple takes background pushes with normal priority only: leave out high, or background"


def _textless_problems(neutral: Neutral) -> Iterator[tuple[str, str]]:
    for name in ("subtitle", "image", "mutable"):
        if getattr(neutral, name):
            yield name, f"{name} has a meaning only beside a text: give title or body as well"
    if neutral.is_silent and not neutral.data:
        yield "", "there is nothing to show: give title or body, sound, badge or data, or set background"


def _value_problems(neutral: Neutral) -> Iterator[tuple[str, str]]:
    if _breaks(_IMAGE, neutral.image):
        yield "image", "a URL that begins with https:// is expected"
    if _breaks(_URL, neutral.url):
        yield "url", "an absolute URL is expected, as https://example.com/ or myapp:open"
    key = neutral.collapse_key or ""
    if not _is_template(key) and len(key.encode()) > MAX_COLLAPSE_KEY_BYTES:
        yield "collapse_key", f"{MAX_COLLAPSE_KEY_BYTES} bytes at most"
    for name in neutral.data or ():
        if name == "aps":
            yield "data", "aps cannot be a key of data: Apple keeps it for what it shows"
        elif _RESERVED.fullmatch(name):
            yield "data", "a key that FCM reserves: from, message_type, google… or gcm…"


def _breaks(pattern: re.Pattern[str], value: str | None) -> bool:
    return bool(value) and not _is_template(value or "") and not pattern.fullmatch(value or "")


def _is_template(value: str) -> bool:
    return "{{" in value
