"""Groups of methods, by which an API key says what it may call: `@send` instead of the names.

A method that a later release brings falls into the group of its module; into `@read` only by being named here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from methods.method import Method


@dataclass(frozen=True, slots=True)
class Group:
    """What a group is for, and the modules whose methods are in it, or the methods by name."""

    about: str
    modules: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


GROUPS: Mapping[str, Group] = {
    "@send": Group("send pushes, stop them, and see what came of them", ("sending", "stopping", "pushes")),
    "@devices": Group(
        "register devices, change, list and remove them; their topics, their users' topics; keys for apps",
        ("devices", "device_sync", "device_keys", "topics", "subscriptions", "receipts"),
    ),
    "@users": Group("preferences, presence and badges of users, and their removal", ("users", "user_removal")),
    "@read": Group(
        "see everything but keys, change nothing",
        methods=(
            "device_list",
            "device_topic_list",
            "user_topic_list",
            "device_subscription_list",
            "device_pushes",
            "device_stats",
            "user_preferences_get",
            "push_status",
            "push_list",
            "push_explain",
            "push_stats",
            "provider_list",
            "webhook_failures",
            "info",
            "rpc.discover",
        ),
    ),
    "@admin": Group(
        "credentials of push services, webhooks, API keys, and what the server says of itself",
        ("providers", "webhooks", "keys", "stats", "device_record", "explain", "server"),
    ),
}


def group_of(name: str, table: Mapping[str, Method]) -> frozenset[str]:
    """Return the methods of a group; KeyError when there is none of that name."""
    group = GROUPS[name]
    return frozenset(
        method.name for method in table.values() if method.name in group.methods or _module(method) in group.modules
    )


def permitted(entries: Iterable[str], table: Mapping[str, Method]) -> frozenset[str]:
    """Return the methods that these names of methods and groups stand for.

    What a release does not know, as after going back to an older one, stays as it is: it permits nothing, but neither
    does a key that names only such become one that may do everything.
    """
    found: set[str] = set()
    for entry in entries:
        found |= group_of(entry, table) if entry in GROUPS else {entry}
    return frozenset(found)


def _module(method: Method) -> str:
    return method.handler.__module__.rpartition(".")[2]
