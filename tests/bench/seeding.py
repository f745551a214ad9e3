"""Devices for a benchmark, made by the database itself; each token says which device it is."""

import hashlib

import msgspec

from storage import migrations
from storage.database import Database

TOPIC = "everyone"
DEAD = "dead"
"""What the token of a device begins with that a sink with faults calls unregistered: one in a hundred."""
_GOOD = "a11e"
_CHUNK = 1_000_000

# Ids ascend as UUIDv7 do, tokens are spread like real ones. An APNs token is 64 hex digits, an FCM one 147 characters;
# both begin with the kind and end with the device's number in 8 hex digits. Device n belongs to user n, and the devices
# speak ten languages.
_DEVICES = b"""
insert into devices (id, provider, platform, token, user_id, locale, created_at, updated_at, registered_at)
select (lpad(to_hex(1700000000000 + n), 12, '0') || '7' || substr(h, 1, 3) || '8' || substr(h, 4, 15))::uuid,
       case when fcm then 'fcm' else 'apns' end, case when fcm then 'android' else 'ios' end,
       case when n %% 200 in (7, 8) then 'dead' else 'a11e' end
         || case when fcm then ':APA91b' || h || h || h || h else h || substr(h, 1, 20) end
         || lpad(to_hex(n), 8, '0'),
       n::text, ('{en,de,fr,es,it,pt,nl,pl,sv,ja}'::text[])[n %% 10 + 1], t, t, t
from (select n, md5(n::text) as h, n %% 2 < %(fcm)s::integer as fcm, now() - interval '1 day' as t
      from generate_series(%(first)s::bigint, %(last)s::bigint) n) s
"""
_TOPICS = b"""
insert into device_topics (topic, device_id)
select %(topic)s, id from devices
where id > (lpad(to_hex(1700000000000 + %(first)s::bigint), 12, '0') || repeat('0', 20))::uuid
  and id < (lpad(to_hex(1700000000000 + %(last)s::bigint + 1), 12, '0') || repeat('0', 20))::uuid
"""


class Seed(msgspec.Struct, frozen=True):
    """`count` devices of the topic, numbered from 0, then `apart` APNs devices outside it.

    `provider` is apns, fcm, or mixed (every second device is FCM's).
    """

    count: int
    provider: str = "apns"
    apart: int = 0

    @property
    def name(self) -> str:
        """The name of its template database."""
        return f"seed_{self.provider}_{self.count}_{self.apart}"

    def is_fcm(self, number: int) -> bool:
        """Whether the device of this number is FCM's."""
        if self.provider == "mixed" and number < self.count:
            return number % 2 == 0
        return self.provider == "fcm" and number < self.count

    def counts(self) -> dict[str, int]:
        """Devices of the topic by provider."""
        fcm = {"apns": 0, "fcm": self.count, "mixed": (self.count + 1) // 2}[self.provider]
        return {name: count for name, count in (("apns", self.count - fcm), ("fcm", fcm)) if count}

    def dead(self) -> int:
        """How many devices of the topic a sink with faults calls dead."""
        whole, rest = divmod(self.count, 200)
        return whole * 2 + (rest > 7) + (rest > 8)

    def token(self, number: int) -> str:
        """The token of a device, as the database makes it."""
        digest = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
        kind = DEAD if number % 200 in (7, 8) else _GOOD
        middle = ":APA91b" + digest * 4 if self.is_fcm(number) else digest + digest[:20]
        return f"{kind}{middle}{number:08x}"


async def fill(url: str, seed: Seed) -> None:
    """Migrate an empty database and put the devices into it."""
    async with Database(url, max_connections=1, statement_timeout_seconds=3600) as database:
        await migrations.apply(database)
        async with database.connection() as connection:
            await connection.execute(b"set synchronous_commit = off")
            await connection.execute(b"set session_replication_role = replica")  # no check of each foreign key
            for first in range(0, seed.count, _CHUNK):
                last = min(first + _CHUNK, seed.count) - 1
                fcm = {"apns": 0, "mixed": 1, "fcm": 2}[seed.provider]  # what the number modulo 2 is below
                await connection.execute(_DEVICES, {"first": first, "last": last, "fcm": fcm})
                await connection.execute(_TOPICS, {"topic": TOPIC, "first": first, "last": last})
            span = {"first": seed.count, "last": seed.count + seed.apart - 1, "fcm": 0}
            await connection.execute(_DEVICES, span)
            await connection.execute(b"vacuum analyze")
            await connection.execute(b"checkpoint")
