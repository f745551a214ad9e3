"""What was done in a run and when: what is asked of the engine, by the calls and their answers. Times: Unix seconds."""

import msgspec

from tests.chaos.pushing import Push

_NEVER = float("inf")


class Changed(msgspec.Struct):
    """A change of a device: it took hold between these two times."""

    verb: str
    started_at: float
    answered_at: float = _NEVER
    token: str = ""
    proof: str = ""


class Held(msgspec.Struct):
    """A pause of a push, from the call to the answer of its resumption."""

    pause_started_at: float
    pause_answered_at: float = _NEVER
    resume_started_at: float = _NEVER
    resume_answered_at: float = _NEVER


class Sent(msgspec.Struct):
    """A push as it went; `refused` when the API would not have it, `told_twice` what it said to a repetition."""

    push: Push
    started_at: float
    answered_at: float = _NEVER
    send_at: int | None = None
    expire_at: int | None = None
    window_opens_at: int | None = None
    refused: str = ""
    calls: int = 0
    cancel_started_at: float = _NEVER
    cancelled_at: float = _NEVER
    held: list[Held] = []
    told_twice: str = ""


class Played(msgspec.Struct):
    """A storm as it came."""

    name: str
    service: str
    loses_answers: bool
    started_at: float
    ended_at: float = _NEVER


class History(msgspec.Struct):
    """What was done: changes by device, pushes by uid, storms, and how many calls had to be repeated."""

    changes: dict[str, list[Changed]] = {}
    pushes: dict[str, Sent] = {}
    storms: list[Played] = []
    repeated_calls: int = 0
