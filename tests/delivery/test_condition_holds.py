"""PostgreSQL's evaluator of conditions against ours."""

from random import Random

from delivery.conditions import Condition, holds, parse
from storage.database import Database
from tests.delivery.condition_trees import Printer, random_tree


async def postgresql_says(database: Database, cases: list[tuple[Condition, int]]) -> list[bool]:
    found = await database.values(
        b"select condition_holds(program::integer[], mask)"
        b" from unnest(%(programs)s::text[], %(masks)s::bigint[]) with ordinality as t (program, mask, number)"
        b" order by number",
        {
            "programs": ["{" + ",".join(map(str, condition.program)) + "}" for condition, _ in cases],
            "masks": [mask for _, mask in cases],
        },
    )
    return [row[0] for row in found]


async def test_postgresql_says_the_same(database: Database) -> None:
    random = Random(20_261_122)
    printer = Printer(random)
    conditions = [parse(printer.write(random_tree(random, depth))) for depth in range(7) for _ in range(30)]
    cases = [(each, random.getrandbits(len(each.topics))) for each in conditions for _ in range(20)]
    expected = [holds(condition, mask) for condition, mask in cases]
    assert set(expected) == {True, False}
    assert await postgresql_says(database, cases) == expected


async def test_postgresql_reads_all_sixty_bits_and_the_longest_program(database: Database) -> None:
    names = [f"'{number}' in topics" for number in range(60)]
    every, some = parse(" && ".join(names)), parse(" || ".join(names))
    deep = parse("!('a' in topics || " * 1999 + "!!'b' in topics" + ")" * 1999)
    full = (1 << 60) - 1
    cases = [(every, full), (every, full >> 1), (some, 1 << 59), (some, 0), *((deep, mask) for mask in range(4))]
    assert await postgresql_says(database, cases) == [holds(condition, mask) for condition, mask in cases]
