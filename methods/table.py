"""The table of methods: every door, OpenRPC and the reference in docs/ read it."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType, ModuleType

from methods.method import Method, declare


def table_of(modules: Iterable[ModuleType]) -> Mapping[str, Method]:
    """Gather the methods that these modules list in `METHODS`; TypeError when two have one name."""
    table: dict[str, Method] = {}
    for module in modules:
        for handler in module.METHODS:
            method = declare(handler)
            if method.name in table:
                raise TypeError(f"two methods are named {method.name}")
            table[method.name] = method
    return MappingProxyType(table)
