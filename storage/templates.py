"""Named payload templates: a notification and its localizations, as JSON text."""

import msgspec

from storage.database import Database
from storage.queries import load

_QUERIES = load("templates")


class TemplateRow(msgspec.Struct):
    """A named template; `notification` and `localizations` are JSON text, times Unix seconds."""

    name: str
    notification: str
    localizations: str
    created_at: int
    updated_at: int


async def put(database: Database, name: str, notification: str, localizations: str) -> None:
    """Write the whole of a template."""
    parameters = {"name": name, "notification": notification, "localizations": localizations}
    await database.execute(_QUERIES.put, parameters)


async def find(database: Database, name: str) -> TemplateRow | None:
    """The template of this name."""
    return await database.row(_QUERIES.find, {"name": name}, TemplateRow)


async def page(database: Database, cursor: str, limit: int) -> list[TemplateRow]:
    """Templates by name, after the one named `cursor`."""
    return await database.rows(_QUERIES.page, {"cursor": cursor, "limit": limit}, TemplateRow)


async def remove(database: Database, name: str) -> bool:
    """Remove a template; False when there is none of this name."""
    return bool(await database.execute(_QUERIES.remove, {"name": name}))
