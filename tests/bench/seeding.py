"""Devices for a benchmark, made by the database itself; each token says which device it is."""

import hashlib

import msgspec

from storage import migrations
from storage.database import Database

TOPIC = "everyone"
DEAD = "dead"
"""What the token of a device begins with that a sink with faults calls unregistered: one in a hundred."""
_GOOD = "a11e"
PATH = "/wpush/v2/"
"""Where the endpoints of Web Push are, at three services of their own."""
_SERVICES = ".example"
KEYS = {
    "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    "auth": "BTBZMqHH6r4Tts7J_aSIgg",
}
"""The browser's keys of the example of RFC 8291."""
_CHUNK = 1_000_000

# Ids ascend as UUIDv7 do, tokens are spread like real ones: of APNs 64 hex digits, of FCM 147 characters, of HMS 116,
# and endpoints of Web Push end with 140. All begin with the kind and end with the device's number in 8 hex digits.
# Device n belongs to user n, and the devices speak ten languages. Encryption costs the same whoever's key it is for, so
# all browsers have one.
_DEVICES = b"""
insert into devices
  (id, provider, platform, token, webpush_keys, user_id, locale, created_at, updated_at, registered_at)
select (lpad(to_hex(1700000000000 + n), 12, '0') || '7' || substr(h, 1, 3) || '8' || substr(h, 4, 15))::uuid,
       p, case p when 'apns' then 'ios' when 'webpush' then 'web' else 'android' end,
       case p when 'webpush' then 'https://push-' || n %% 3 || %(path)s else '' end
         || case when n %% 200 in (7, 8) then 'dead' else 'a11e' end
         || case p when 'fcm' then ':APA91b' || h || h || h || h when 'webpush' then h || h || h || h
                   when 'hms' then 'IQAAAACy' || h || h || h else h || substr(h, 1, 20) end
         || lpad(to_hex(n), 8, '0'),
       case p when 'webpush' then %(keys)s::jsonb end,
       n::text, ('{en,de,fr,es,it,pt,nl,pl,sv,ja}'::text[])[n %% 10 + 1], t, t, t
from (select n, md5(n::text) as h, case n %% 2 when 0 then %(even)s else %(odd)s end as p, now() - interval '1 day' as t
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

    `provider` is apns, fcm, webpush, hms, or mixed (every second device is FCM's, the others are APNs').
    """

    count: int
    provider: str = "apns"
    apart: int = 0

    @property
    def name(self) -> str:
        """The name of its template database, another one after each migration."""
        version = migrations.available()[-1].version
        return f"seed_{version}_{self.provider}_{self.count}_{self.apart}"

    def provider_of(self, number: int) -> str:
        """Whose the device of this number is."""
        return self.pair[number % 2] if number < self.count else "apns"

    def counts(self) -> dict[str, int]:
        """Devices of the topic by provider."""
        even, odd = self.pair
        found = dict.fromkeys(sorted({even, odd}), 0)
        found[even] += (self.count + 1) // 2
        found[odd] += self.count // 2
        return {name: count for name, count in found.items() if count}

    def dead(self) -> int:
        """How many devices of the topic a sink with faults calls dead; none of HMS, of which one request has many."""
        if self.provider == "hms":
            return 0
        whole, rest = divmod(self.count, 200)
        return whole * 2 + (rest > 7) + (rest > 8)

    def token(self, number: int) -> str:
        """The token of a device, as the database makes it; of Web Push, how its endpoint ends."""
        digest = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
        kind = DEAD if number % 200 in (7, 8) else _GOOD
        middle = {
            "apns": digest + digest[:20],
            "fcm": ":APA91b" + digest * 4,
            "webpush": digest * 4,
            "hms": "IQAAAACy" + digest * 3,
        }[self.provider_of(number)]
        return f"{kind}{middle}{number:08x}"

    def endpoint(self, number: int) -> str:
        """The endpoint of a Web Push device."""
        return f"https://push-{number % 3}{_SERVICES}{PATH}{self.token(number)}"

    @property
    def pair(self) -> tuple[str, str]:
        """Whose the even and the odd devices of the topic are."""
        return ("fcm", "apns") if self.provider == "mixed" else (self.provider, self.provider)


async def fill(url: str, seed: Seed) -> None:
    """Migrate an empty database and put the devices into it."""
    async with Database(url, max_connections=1, statement_timeout_seconds=3600) as database:
        await migrations.apply(database)
        async with database.connection() as connection:
            await connection.execute(b"set synchronous_commit = off")
            await connection.execute(b"set session_replication_role = replica")  # no check of each foreign key
            made = {"path": _SERVICES + PATH, "keys": msgspec.json.encode(KEYS).decode()}
            for first in range(0, seed.count, _CHUNK):
                last = min(first + _CHUNK, seed.count) - 1
                even, odd = seed.pair
                span = {"first": first, "last": last, "even": even, "odd": odd}
                await connection.execute(_DEVICES, made | span)
                await connection.execute(_TOPICS, {"topic": TOPIC, "first": first, "last": last})
            span = {"first": seed.count, "last": seed.count + seed.apart - 1, "even": "apns", "odd": "apns"}
            await connection.execute(_DEVICES, made | span)
            await connection.execute(b"vacuum analyze")
            await connection.execute(b"checkpoint")
