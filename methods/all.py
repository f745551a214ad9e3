"""Every module of methods, and the one table that all doors, OpenRPC and the reference read."""

from methods import (
    device_record,
    devices,
    explain,
    providers,
    pushes,
    receipts,
    sending,
    server,
    stopping,
    subscriptions,
    topics,
)
from methods.table import table_of

MODULES = (
    devices,
    device_record,
    explain,
    topics,
    subscriptions,
    providers,
    sending,
    stopping,
    pushes,
    receipts,
    server,
)
TABLE = table_of(MODULES)
