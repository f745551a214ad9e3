"""Every module of methods, and the one table that all doors, OpenRPC and the reference read."""

from methods import (
    device_keys,
    device_record,
    device_sync,
    devices,
    explain,
    keys,
    providers,
    pushes,
    receipts,
    sending,
    server,
    stats,
    stopping,
    subscriptions,
    templates,
    topics,
    user_removal,
    users,
    webhooks,
)
from methods.table import table_of

MODULES = (
    devices,
    device_sync,
    device_record,
    explain,
    topics,
    subscriptions,
    users,
    user_removal,
    providers,
    templates,
    sending,
    stopping,
    pushes,
    receipts,
    stats,
    webhooks,
    keys,
    device_keys,
    server,
)
TABLE = table_of(MODULES)
