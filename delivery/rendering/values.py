"""What templates can say about a recipient, and how each of it is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

Scalar = str | int | float | bool | None


class Values(msgspec.Struct):
    """What the templates of a push can say to one recipient; a field that is empty has no value.

    `meta` is the device's, `l10n` what the localizations say in its locale, `vars` the variables of a named payload
    template. An empty text in one of these is a value.
    """

    device_id: str = ""
    device_user: str = ""
    meta: Mapping[str, str] | None = None
    l10n: Mapping[str, str] | None = None
    push_uid: str = ""
    push_account: str = ""
    receipt_token: str = ""
    vars: Mapping[str, Scalar] | None = None

    def __repr__(self) -> str:
        return f"Values(device_id={self.device_id!r}, push_uid={self.push_uid!r})"


Read = Callable[[Values], str | None]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable: its name for people, the values it needs, its own name among them, and how its text is read."""

    name: str
    needs: str
    key: str
    read: Read


def variable(*keys: str) -> Variable | None:
    """The variable that is found by these names, one inside the other; None when there is none."""
    read = _FIXED.get(keys)
    if read is not None:
        name = ".".join(keys)
        return Variable(name, name, "", read)
    reader = _MAPPED.get(keys[:-1])
    if reader is None:
        return None
    needs, key = ".".join(keys[:-1]), keys[-1]
    name = f"{needs}.{key}" if key.isidentifier() and len(key) <= 40 else f"{needs}[{shown(key)}]"
    return Variable(name, needs, key, reader(key))


def shown(name: str) -> str:
    """A name out of a payload as details show it: quoted, and cut when it is long."""
    return repr(name if len(name) <= 40 else f"{name[:40]}…")


def literal(text: str) -> Read:
    """Always this text."""
    return lambda _: text


def default(read: Read, otherwise: Read) -> Read:
    """The first text, or the other one when the first has no value or is empty."""
    return lambda values: read(values) or otherwise(values)


def changed(read: Read, change: Callable[[str], str]) -> Read:
    """The text after a change; no value stays no value."""

    def read_changed(values: Values) -> str | None:
        text = read(values)
        return None if text is None else change(text)

    return read_changed


def _meta(key: str) -> Read:
    return lambda values: None if values.meta is None else values.meta.get(key)


def _l10n(key: str) -> Read:
    return lambda values: None if values.l10n is None else values.l10n.get(key)


def _vars(key: str) -> Read:
    def read(values: Values) -> str | None:
        value = None if values.vars is None else values.vars.get(key)
        return value if value is None or isinstance(value, str) else _as_json(value)

    return read


def _as_json(value: float | bool) -> str:
    """A number or a boolean as JSON writes it; whole numbers of any size, which msgspec does not encode."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return msgspec.json.encode(value).decode()


_FIXED: dict[tuple[str, ...], Read] = {
    ("device", "id"): lambda values: values.device_id or None,
    ("device", "user"): lambda values: values.device_user or None,
    ("push", "uid"): lambda values: values.push_uid or None,
    ("push", "account"): lambda values: values.push_account or None,
    ("receipt_token",): lambda values: values.receipt_token or None,
}
_MAPPED: dict[tuple[str, ...], Callable[[str], Read]] = {("device", "meta"): _meta, ("l10n",): _l10n, ("vars",): _vars}
