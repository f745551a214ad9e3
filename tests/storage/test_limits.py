"""Rate limits in the database: exact whoever asks, level with the reference, and forgotten in time."""

import asyncio
import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.database import Database
from storage.limits import Admission, Policy, Verdict, admit, remove_forgotten
from tests.storage.sliding_log import SlidingLog

NOW = 1_795_000_000.0
MINUTE = 60_000
_scopes = count()

Log = dict[str, list[float]]


def asking(*keys: str) -> list[Admission]:
    return [Admission(key) for key in keys]


async def ask(database: Database, key: str, now: float, policies: Sequence[Policy], times: int = 1) -> list[Verdict]:
    return await admit(database, asking(*[key] * times), policies, now, drop=False)


async def row_count(database: Database) -> int:
    found: int = (await database.values(b"select count(*) from rate_limits", {}))[0][0]
    return found


def crowded(times: Iterable[float], policy: Policy) -> list[float]:
    """The beginnings of the intervals that hold more admissions than the policy allows; counted one by one."""
    sorted_times = sorted(round(each * 1_000_000) for each in times)
    return [
        begin / 1_000_000
        for place, begin in enumerate(sorted_times)
        if bisect_left(sorted_times, begin + policy.interval_ms * 1000) - place > policy.rate
    ]


async def test_requests_within_the_rate_are_admitted_and_the_next_waits_for_its_slot(database: Database) -> None:
    policies = [Policy(2, MINUTE)]
    assert await ask(database, "ann", NOW, policies) == [Verdict(admitted=True, at=NOW)]
    assert await ask(database, "ann", NOW + 20, policies) == [Verdict(admitted=True, at=NOW + 20)]
    assert await ask(database, "ann", NOW + 30, policies) == [Verdict(admitted=False, at=NOW + 60)]
    assert await ask(database, "ann", NOW + 59.999999, policies) == [Verdict(admitted=False, at=NOW + 60)]
    assert await ask(database, "ann", NOW + 60, policies) == [Verdict(admitted=True, at=NOW + 60)]


async def test_verdicts_come_in_the_order_of_the_requests(database: Database) -> None:
    verdicts = await admit(database, asking("b", "a", "b", "b", "a"), [Policy(1, 1000)], NOW, drop=False)
    assert [verdict.admitted for verdict in verdicts] == [True, True, False, False, False]
    assert [verdict.at - NOW for verdict in verdicts] == [0, 0, 1, 2, 1]


async def test_those_who_wait_get_the_slots_one_after_another(database: Database) -> None:
    verdicts = await ask(database, "ann", NOW, [Policy(2, 1000), Policy(3, 10_000)], times=8)
    assert [verdict.admitted for verdict in verdicts] == [True] * 2 + [False] * 6
    assert [verdict.at - NOW for verdict in verdicts] == [0, 0, 1, 10, 10, 11, 20, 20]


async def test_whoever_comes_back_at_its_slot_is_admitted(database: Database) -> None:
    policies = [Policy(3, 700), Policy(7, 5000)]
    first = await ask(database, "ann", NOW + 0.123456, policies, times=40)
    for verdict in first[3:]:
        assert await ask(database, "ann", verdict.at, policies) == [Verdict(admitted=True, at=verdict.at)]


async def test_an_admission_counts_for_all_policies_or_for_none(database: Database) -> None:
    narrow, wide = Policy(1, MINUTE), Policy(3, 10 * MINUTE)
    await ask(database, "ann", NOW, [narrow, wide])
    for _ in range(5):
        assert not (await ask(database, "ann", NOW + 1, [narrow, wide]))[0].admitted
    verdicts = await ask(database, "ann", NOW + 2, [wide], times=3)
    assert [verdict.admitted for verdict in verdicts] == [True, True, False], "refusals used nothing up"


async def test_with_drop_there_is_no_next_time(database: Database) -> None:
    verdicts = await admit(database, asking("ann", "ann"), [Policy(1, MINUTE)], NOW, drop=True)
    assert verdicts == [Verdict(admitted=True, at=NOW), Verdict(admitted=False, at=NOW)]


async def test_keys_scopes_and_policies_are_counted_apart(database: Database) -> None:
    policy, other = Policy(1, MINUTE), Policy(1, MINUTE + 1)
    for key, scope, rule in (("a", "", policy), ("b", "", policy), ("a", "s", policy), ("a", "", other)):
        verdicts = await admit(database, asking(key), [rule], NOW, drop=False, scope=scope)
        assert verdicts[0].admitted
    assert not (await admit(database, asking("a"), [policy, other], NOW, drop=False))[0].admitted


async def test_scope_and_key_do_not_run_into_one_another(database: Database) -> None:
    for scope, key in (("a", "bc"), ("ab", "c"), ("", "abc"), ("1/a", "b")):
        assert (await admit(database, asking(key), [Policy(1, MINUTE)], NOW, drop=False, scope=scope))[0].admitted


async def test_the_same_policy_twice_is_one(database: Database) -> None:
    verdicts = await ask(database, "ann", NOW, [Policy(2, MINUTE), Policy(2, MINUTE)], times=3)
    assert [verdict.admitted for verdict in verdicts] == [True, True, False]


async def test_nobody_asking_or_no_policy_is_no_limit(database: Database) -> None:
    assert await admit(database, [], [Policy(1, 1)], NOW, drop=False) == []
    assert await ask(database, "ann", NOW, [], times=2) == [Verdict(admitted=True, at=NOW)] * 2
    assert await row_count(database) == 0


async def test_a_clock_that_is_behind_goes_by_the_newest_admission(database: Database) -> None:
    policies = [Policy(2, MINUTE)]
    await ask(database, "ann", NOW, policies)
    verdicts = await ask(database, "ann", NOW - 300, policies, times=2)
    assert verdicts == [Verdict(admitted=True, at=NOW), Verdict(admitted=False, at=NOW + 60)]


async def test_the_newest_admission_is_that_of_all_policies_asked_for(database: Database) -> None:
    one, other = Policy(5, MINUTE), Policy(1, MINUTE)
    await ask(database, "ann", NOW, [one])
    assert await ask(database, "ann", NOW - 30, [other, one]) == [Verdict(admitted=True, at=NOW)]
    assert await ask(database, "ann", NOW + 40, [other]) == [Verdict(admitted=False, at=NOW + 60)]


async def test_a_rate_of_a_thousand_is_exact(database: Database) -> None:
    policies = [Policy(1000, MINUTE)]
    for place in range(4):
        verdicts = await ask(database, "all", NOW + place, policies, times=300)
        assert sum(verdict.admitted for verdict in verdicts) == min(300, 1000 - 300 * place)
    assert [verdict.at - NOW for verdict in verdicts[100:]] == [60] * 200
    assert sum(verdict.admitted for verdict in await ask(database, "all", NOW + 60, policies, times=500)) == 300


async def test_no_key_is_stored(database: Database) -> None:
    await admit(database, asking("ann@example.com"), [Policy(1, MINUTE)], NOW, drop=False, scope="shop")
    (row,) = await database.values(b"select r::text, length(r.digest) from rate_limits r", {})
    assert "ann" not in row[0]
    assert "shop" not in row[0]
    assert row[1] == 16
    assert "ann" not in repr(asking("ann@example.com"))


async def test_a_row_holds_no_more_than_its_interval_needs(database: Database) -> None:
    for place in range(50):
        await ask(database, "ann", NOW + place, [Policy(5, 3000)])
    ((stored,),) = await database.values(b"select cardinality(times) from rate_limits", {})
    assert stored == 3


async def test_what_no_policy_needs_any_more_is_removed_in_bounded_batches(database: Database) -> None:
    await admit(database, asking(*"abcde"), [Policy(1, MINUTE)], NOW, drop=False)
    await admit(database, asking("f"), [Policy(1, 1000 * MINUTE)], NOW, drop=False)
    assert await remove_forgotten(database, NOW + 60, 100) == 0, "other clocks may be behind"
    assert await remove_forgotten(database, NOW + 60 + 1200, 2) == 2
    assert await remove_forgotten(database, NOW + 60 + 1200, 100) == 3
    assert not (await ask(database, "f", NOW + 2000, [Policy(1, 1000 * MINUTE)]))[0].admitted


async def test_a_key_in_use_stays_remembered(database: Database) -> None:
    policies = [Policy(1, 10 * MINUTE)]
    for place in range(5):
        assert (await ask(database, "ann", NOW + place * 600, policies))[0].admitted
        assert await remove_forgotten(database, NOW + place * 600 + 599, 100) == 0


async def test_a_row_that_nothing_was_admitted_under_is_forgotten_too(database: Database) -> None:
    full, new = Policy(1, MINUTE), Policy(5, MINUTE)
    await ask(database, "ann", NOW, [full])
    await ask(database, "ann", NOW, [full, new])
    assert await row_count(database) == 2
    assert await remove_forgotten(database, NOW + 60 + 1200, 100) == 2


policies_drawn = st.lists(st.builds(Policy, st.integers(1, 6), st.integers(1, 3000)), min_size=1, max_size=3)
steps_drawn = st.lists(
    st.tuples(st.integers(-800_000, 2_000_000), st.lists(st.sampled_from("abc"), min_size=1, max_size=9)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies_drawn, steps_drawn)
async def test_the_database_is_level_with_the_reference(
    database: Database, policies: list[Policy], steps: list[tuple[int, list[str]]]
) -> None:
    scope = str(next(_scopes))
    policies = list(dict.fromkeys(policies))
    logs: dict[str, SlidingLog] = defaultdict(lambda: SlidingLog(policies))
    now = NOW
    for microseconds, keys in steps:
        now += microseconds / 1_000_000
        verdicts = await admit(database, asking(*keys), policies, now, drop=False, scope=scope)
        expected = {key: iter(logs[key].admit(now, keys.count(key))) for key in dict.fromkeys(keys)}
        assert verdicts == [next(expected[key]) for key in keys]


async def _sender(database: Database, policies: list[Policy], keys: str, seed: int, log: Log) -> None:
    """Ask for random keys, in random order, by a clock of its own, and note what was admitted."""
    chance = random.Random(seed)
    skew = chance.uniform(-0.5, 0.5)
    for step in range(30):
        chosen = chance.choices(keys, k=chance.randint(1, 12))
        verdicts = await admit(
            database, asking(*chosen), policies, NOW + step * 0.15 + skew, drop=chance.random() < 0.5
        )
        for key, verdict in zip(chosen, verdicts, strict=True):
            if verdict.admitted:
                log[key].append(verdict.at)


async def test_eight_senders_together_never_exceed_the_limits(database_url: str) -> None:
    policies, log = [Policy(3, 500), Policy(8, 2000)], defaultdict[str, list[float]](list)
    async with Database(database_url, max_connections=8) as database, asyncio.TaskGroup() as senders:
        for seed in range(8):
            senders.create_task(_sender(database, policies, "abcdef", seed, log))
    assert len(log) == 6
    assert [crowded(times, policy) for times in log.values() for policy in policies] == [[]] * 12
    # 4.35 s and the clocks' differences: two intervals of the wider policy and the third begun
    assert all(len(times) >= 16 for times in log.values())


async def test_eight_senders_at_one_moment_get_exactly_the_rate(database_url: str) -> None:
    policies, keys = [Policy(100, MINUTE)], ["a", "b", "c"] * 20
    async with Database(database_url, max_connections=8) as database:
        asked = [admit(database, asking(*keys[place:], *keys[:place]), policies, NOW, drop=False) for place in range(8)]
        verdicts = [verdict for answer in await asyncio.gather(*asked) for verdict in answer]
    assert sum(verdict.admitted for verdict in verdicts) == 3 * 100


async def test_removal_at_the_same_time_lets_nobody_over_the_limits(database_url: str) -> None:
    policies, log, keys = [Policy(2, 10 * MINUTE)], defaultdict[str, list[float]](list), [str(key) for key in range(60)]
    chance, removed = random.Random(1), []

    async def send(now: float) -> None:
        chosen = chance.sample(keys, 5)
        for key, verdict in zip(chosen, await admit(database, asking(*chosen), policies, now, drop=True), strict=True):
            if verdict.admitted:
                log[key].append(verdict.at)

    async def remove(now: float) -> None:
        removed.append(await remove_forgotten(database, now, 5))

    async with Database(database_url, max_connections=8) as database:
        for step in range(60):
            async with asyncio.TaskGroup() as tasks:
                for work in (send, send, remove, send, remove, send, remove, send):
                    tasks.create_task(work(NOW + step * 250))
    assert sum(removed) > 20
    assert [crowded(times, policies[0]) for times in log.values()] == [[]] * len(keys)
