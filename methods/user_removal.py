"""user_remove: everything that the server keeps of a user goes."""

import time

from methods.context import Context
from methods.method import Result
from methods.users import UserParams
from storage import user_removal


class UserRemoveResult(Result):
    """How much there was; absent where there was nothing.

    user: the user
    devices: devices that were removed
    shared_devices: devices that stay, because others are logged in on them, and are not this user's any more
    topics: topics of the user
    preferences: 1 when preferences were kept
    presence: 1 when presence was kept
    badge: 1 when a counter was kept
    receipts: what the removed devices had reported
    outcomes: attempts in the record that named a removed device, and do not any more
    suppressed: recipients that were taken out of pushes that waited, counted there as suppressed
    """

    user: str
    devices: int = 0
    shared_devices: int = 0
    topics: int = 0
    preferences: int = 0
    presence: int = 0
    badge: int = 0
    receipts: int = 0
    outcomes: int = 0
    suppressed: int = 0


async def user_remove(ctx: Context, params: UserParams) -> UserRemoveResult:
    """Erase a user: devices, topics, preferences, presence, counter, receipts, and the record of the devices.

    A device that others are logged in on stays theirs, with its record. What waits for the removed devices is not
    sent: it is counted as suppressed, with the reason DeviceRemoved. What is in flight at this moment may still arrive.
    The numbers of pushes stay; in the record nobody is in the place of the devices. Sync tokens and device keys of the
    user end. The pushes themselves, with whom they were addressed to, are kept as long as any. Unknown users are fine;
    when the call fails, or was cut off, call again: it goes on where it stopped.
    """
    removed = await user_removal.remove(ctx.database, params.user, time.time())
    return UserRemoveResult(
        params.user,
        devices=removed.devices,
        shared_devices=removed.shared_devices,
        topics=removed.topics,
        preferences=removed.preferences,
        presence=removed.presence,
        badge=removed.badge,
        receipts=removed.receipts,
        outcomes=removed.outcomes,
        suppressed=removed.suppressed,
    )


METHODS = (user_remove,)
