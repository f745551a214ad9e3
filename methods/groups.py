"""Groups of methods, by which an API key says what it may call: `@send` instead of the names.

A method that a later release brings falls into the group of its module; into `@read` only by being named here.
"""

from collections.abc import Collection, Mapping
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
            "template_list",
            "info",
            "rpc.discover",
        ),
    ),
    "@admin": Group(
        "credentials of push services, templates, webhooks, API keys, statistics, and what the server says of itself",
        ("providers", "templates", "webhooks", "keys", "stats", "device_record", "explain", "server"),
    ),
}


def group_of(name: str, table: Mapping[str, Method]) -> frozenset[str]:
    """Return the methods of a group; KeyError when there is none of that name."""
    group = GROUPS[name]
    return frozenset(
        method.name for method in table.values() if method.name in group.methods or _module(method) in group.modules
    )


def permitted(entries: Collection[str], table: Mapping[str, Method]) -> frozenset[str]:
    """Return what these names of methods and groups stand for: the methods, and the names themselves.

    So a name that this release does not know permits nothing, without making the key one that may do everything; and a
    key that may call some methods of a group may not give away the group, which grows.
    """
    found = set(entries)
    for entry in entries:
        if entry in GROUPS:
            found |= group_of(entry, table)
    return frozenset(found)


def _module(method: Method) -> str:
    return method.handler.__module__.rpartition(".")[2]
