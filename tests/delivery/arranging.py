"""What the tests of the engine share: pushes as they are accepted."""

from storage.ids import new_id
from storage.pushes import NewPush


def new_push(**changes: object) -> NewPush:
    """A push for APNs in the normal lane, changed as a test needs it."""
    push = NewPush(
        id=new_id(),
        uid=new_id(),
        digest=b"",
        request=b'{"notification":{}}',
        analytics_uid="",
        delivery="at_least_once",
        lane=1,
        providers=["apns"],
        apns_topic="",
        expire_at=None,
    )
    for name, value in changes.items():
        setattr(push, name, value)
    return push
