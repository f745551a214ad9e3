"""The devices of a run, and what becomes of each: drawn from the seed before the run begins."""

import random
import uuid
from collections.abc import Iterator

import msgspec

TOPICS = ("news", "sport", "weather", "offers")
TIMEZONES = ("", "UTC", "UTC", "UTC", "Asia/Kolkata")
"""Zones of the devices: one that a window opens in soon, one that it does not open in, and none."""
PROVIDERS = {"apns": 7, "fcm": 7, "webpush": 3, "hms": 4}
SANDBOX = "5a5a5a5a"
"""Begins the APNs tokens that are at home in the sandbox, which nobody tells Tocsin."""
_ELSEWHERE_SHARE = 0.08
_BEFORE_SHARE = 0.3
_REVIVED_SHARE = 0.4


class Device(msgspec.Struct):
    """A device at registration; `id` is chosen by the application, which the API allows."""

    id: str
    provider: str
    user: str
    topics: list[str]
    tokens: list[str]  # all that it ever has, in order
    timezone: str = ""


class Change(msgspec.Struct):
    """What becomes of a device: it registers, changes its token, leaves its topics, is removed.

    Or its token dies at the push service, `proof` says whether since now ("after") or since long before it was
    registered ("before"); and the app, installed again, registers the same token, which is good again (revive).
    """

    at: float
    verb: str  # register, token, leave, remove, die, revive
    device: str
    token: str
    proof: str = ""


class Population:
    """Devices as they come, change and go."""

    def __init__(self, draw: random.Random, deaths: random.Random, users: int) -> None:
        self._draw = draw
        self._deaths = deaths
        self._users = users
        self.devices: dict[str, Device] = {}
        self._present: list[str] = []

    def register(self, at: float) -> Change:
        """A new device."""
        draw = self._draw
        provider = draw.choices(list(PROVIDERS), list(PROVIDERS.values()))[0]
        device = Device(
            id=str(uuid.UUID(int=draw.getrandbits(128), version=4)),
            provider=provider,
            user=f"user-{draw.randrange(self._users)}",
            topics=sorted(draw.sample(TOPICS, draw.randint(1, len(TOPICS)))),
            tokens=[self._token(provider)],
            timezone=self._deaths.choice(TIMEZONES),
        )
        self.devices[device.id] = device
        self._present.append(device.id)
        return Change(at, "register", device.id, device.tokens[0])

    def change(self, at: float) -> Change:
        """What happens next to one of them, or a new one."""
        verb = self._draw.choice(("register", "register", "token", "token", "leave", "remove"))
        if verb == "register" or not self._present:
            return self.register(at)
        place = self._draw.randrange(len(self._present))
        device = self.devices[self._present[place]]
        if verb != "token":  # one that left its topics is not drawn again, so that it stays out
            self._present[place] = self._present[-1]
            self._present.pop()
            return Change(at, verb, device.id, "")
        device.tokens.append(self._token(device.provider))
        return Change(at, verb, device.id, device.tokens[-1])

    def death(self, at: float) -> Change:
        """The token of one of them dies."""
        device = self.devices[self._deaths.choice(self._present)]
        before = device.provider == "apns" and self._deaths.random() < _BEFORE_SHARE
        return Change(at, "die", device.id, device.tokens[-1], "before" if before else "after")

    def revival(self, death: Change) -> Change | None:
        """The same token, registered again some seconds after it died; None for one that stays as it is."""
        if self._deaths.random() >= _REVIVED_SHARE:
            return None
        return Change(death.at + self._deaths.uniform(0.5, 8.0), "revive", death.device, death.token)

    def keeps(self, change: Change) -> bool:
        """Whether the device is still there, and still has this token."""
        device = self.devices[change.device]
        return device.tokens[-1] == change.token and change.device in self._present

    def _token(self, provider: str) -> str:
        token = new_token(self._draw, provider)
        if provider == "apns" and self._deaths.random() < _ELSEWHERE_SHARE:
            return SANDBOX + token[len(SANDBOX) :]
        return token


def changes_of(
    population: Population, living: random.Random, dying: random.Random, seconds: float, means: tuple[float, float]
) -> Iterator[Change]:
    """All changes of a run by their times; `means` are the seconds between two changes, and between two deaths."""
    awaited: list[Change] = []
    upcoming = [(at, "change") for at in times(living, seconds, means[0])]
    upcoming += [(at, "death") for at in times(dying, seconds, means[1])]
    for at, what in sorted(upcoming):
        due = [each for each in awaited if each.at <= at]
        awaited = [each for each in awaited if each.at > at]
        yield from (each for each in sorted(due, key=lambda each: each.at) if population.keeps(each))
        if what == "change":
            yield population.change(at)
            continue
        death = population.death(at)
        yield death
        if revival := population.revival(death):
            awaited.append(revival)


def new_token(draw: random.Random, provider: str) -> str:
    """A token that nobody has; of Web Push, a name that a subscription takes the place of: `subscribing`."""
    return f"{draw.getrandbits(256):064x}" if provider == "apns" else f"{provider}-{draw.getrandbits(128):032x}"


def times(draw: random.Random, seconds: float, mean: float) -> Iterator[float]:
    """Times of independent events, `mean` seconds apart on average."""
    at = draw.expovariate(1 / mean)
    while at < seconds:
        yield at
        at += draw.expovariate(1 / mean)
