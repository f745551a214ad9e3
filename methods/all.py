"""Every module of methods, and the one table that all doors, OpenRPC and the reference read."""

from methods import devices, providers, pushes, sending, server, subscriptions, topics
from methods.table import table_of

MODULES = (devices, topics, subscriptions, providers, sending, pushes, server)
TABLE = table_of(MODULES)
