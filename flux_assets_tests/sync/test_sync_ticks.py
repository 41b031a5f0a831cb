"""Hundreds of random ticks: after each, PostGIS holds what the rule says of the source, column by column.

The oracle reads the source row by row and knows nothing of differences, marks, tokens or SQL.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import snowflake.connector

from flux_assets.sync.result import SyncResult
from flux_assets_tests.synced import Utility

TICKS = 130
# Ticks in which a table is refused, and not compared, are few.
COMPARED = 0.75
FEEDERS = [f"L{n}" for n in range(6)]
Row = dict[str, Any]


class Day(Utility):
    """A utility whose own session stays open from tick to tick; each sync opens one as always."""

    session: snowflake.connector.SnowflakeConnection

    @contextmanager
    def connected(self) -> Iterator[snowflake.connector.SnowflakeConnection]:
        yield self.session


@pytest.fixture
def day(utility: Utility) -> Iterator[Day]:
    day = Day(account=utility.account, target=utility.target)
    arguments = day.account.arguments()
    with snowflake.connector.connect(**arguments) as day.session:
        yield day


@pytest.mark.parametrize("seed", [1, 2])
def test_every_tick_ends_with_the_tables_the_rule_asks_for(day: Day, seed: int) -> None:
    dice = random.Random(seed)
    with psycopg.connect(day.target.conninfo, autocommit=True) as target:
        day.tell("".join(f"INSERT INTO FEEDERS SELECT '{name}', 'x', {n or 'NULL'};" for n, name in enumerate(FEEDERS)))
        target.execute("CREATE TABLE assets (feeder text, load float)")
        outcomes: set[str] = set()
        compared: Counter[str] = Counter()
        asked: Counter[str] = Counter()
        for number in range(TICKS):
            _change(day, dice, number)
            if number and dice.random() < 0.2:
                _meddle(target, dice)
            wanted = dice.choice([("faults",), ("feeders",), (), (), ()])
            before = _held(target) if number else {}
            result = day.sync(*wanted)
            outcomes |= {table.outcome for table in result.tables}
            asked.update(wanted or ("faults", "feeders"))
            compared.update(_judge(day, target, result, wanted, before))
    assert all(compared[name] > COMPARED * asked[name] for name in ("faults", "feeders")), (compared, asked)
    assert outcomes == {"changed", "unchanged", "failed"}, "a day without each of them proves little"


def _change(day: Day, dice: random.Random, tick: int) -> None:
    """A few things that happen to a utility's tables, some of them wrong."""
    script: list[str] = []
    number = itertools.count()
    for what in dice.choices(["begin", "shut", "age", "edit", "lose", "double", "feeder", "nothing"],
                             [8, 4, 2, 4, 1, 0.4, 2, 3], k=dice.randint(0, 4)):  # fmt: skip
        some = f"FAULT_ID IN (SELECT FAULT_ID FROM FAULTS WHERE MOD(HOMES, 5) = {dice.randrange(5)})"
        script += {
            "begin": [_begun(dice, tick, next(number)) for _ in range(dice.randint(1, 12))],
            "shut": [f"UPDATE FAULTS SET STATE = 'SHUT' WHERE {some}"],
            "age": [f"UPDATE FAULTS SET BEGUN = DATEADD(day, -{dice.randint(1, 6)}, BEGUN) WHERE {some}"],
            "edit": [f"UPDATE FAULTS SET HOMES = HOMES + 1, FEEDER = '{dice.choice(FEEDERS)}' WHERE {some}"],
            "lose": [f"DELETE FROM FAULTS WHERE {some}"],
            "double": ["INSERT INTO FAULTS SELECT FAULT_ID, FEEDER, STATE, BEGUN, -1000, LON, LAT FROM FAULTS LIMIT 1"],
            "feeder": [f"UPDATE FEEDERS SET TITLE = 'T{tick}' WHERE FEEDER = '{dice.choice(FEEDERS)}'"],
            "nothing": [],
        }[what]
    # What was double is put right by the next tick; an edit since then has moved its mark a little.
    script.insert(0, "DELETE FROM FAULTS WHERE HOMES < -500")
    day.tell(";".join(script))


def _begun(dice: random.Random, tick: int, number: int) -> str:
    place = dice.choice(["-95.5, 29.7", "NULL, 29.7", "0, 0", "-195, 29", "'NaN'::FLOAT, 1"])
    begun = f"DATEADD(hour, -{dice.randint(0, 240)}, SYSDATE())"
    state, feeder = dice.choice(["OPEN", "OPEN", "SHUT", ""]), dice.choice([*FEEDERS, "none"])
    return (
        f"INSERT INTO FAULTS SELECT 'T{tick}N{number}', '{feeder}', NULLIF('{state}', ''), {begun},"
        f" {dice.randint(0, 50)}, {place}"
    )


def _meddle(target: psycopg.Connection, dice: random.Random) -> None:
    """Somebody else writes into the tables."""
    statements = [
        "DELETE FROM faults WHERE homes % 3 = 0",
        "UPDATE faults SET state = 'WRONG', geom = NULL WHERE homes % 4 = 0",
        "UPDATE feeders SET faults = 999",
        "INSERT INTO feeders (feeder) VALUES ('alien') ON CONFLICT DO NOTHING",
        "TRUNCATE assets; INSERT INTO assets SELECT 'L' || n % 4, n FROM generate_series(1, 37) AS n",
        "VACUUM faults",
    ]
    target.execute(dice.choice(statements))


def _judge(
    day: Day, target: psycopg.Connection, result: SyncResult, wanted: tuple[str, ...], before: dict[str, list[tuple]]
) -> list[str]:
    """The names of the tables that were compared, column by column."""
    held, said = _held(target), {table.table: table for table in result.tables}
    compared: list[str] = []
    for name in wanted or ("faults", "feeders"):
        table = said[name]
        if table.outcome == "failed":
            assert "more than once" in str(table.error) or "are gone from" in str(table.error)
            assert name == "faults"
            assert held[name] == before[name]
            continue
        assert table.rows == len(held[name])
        assert table.source_instant is not None
        expected = _faults(day, table.source_instant) if name == "faults" else _feeders(day, target)
        assert held[name] == expected, f"after {wanted or 'all'}: {table.gate}"
        compared.append(name)
    counts = dict(target.execute("SELECT feeder, count(*) FROM faults WHERE state = 'OPEN' GROUP BY 1").fetchall())
    assert {row[0]: row[3] for row in held["feeders"]} == {row[0]: counts.get(row[0], 0) for row in held["feeders"]}
    if any("are gone from" in str(table.error) for table in said.values()):
        assert day.synced("faults", accept_vanished=True)["faults"].outcome == "changed"
    return compared


def _held(target: psycopg.Connection) -> dict[str, list[tuple]]:
    columns = {
        "faults": "fault_id, feeder, state, begun, homes, lon::text, lat, ST_AsText(geom)",
        "feeders": "feeder, title, homes, faults, load",
    }
    return {name: target.execute(f"SELECT {c} FROM {name} ORDER BY 1").fetchall() for name, c in columns.items()}


def _faults(day: Day, instant: datetime) -> list[tuple]:
    edge = instant.astimezone(UTC).replace(tzinfo=None) - timedelta(days=7)
    rows = day.ask("SELECT FAULT_ID, FEEDER, STATE, BEGUN, HOMES, LON, LAT FROM FAULTS")
    taken = [row for row in rows if row[2] == "OPEN" or row[3] >= edge]
    return sorted((*row[:5], _text(row[5]), row[6], _point(row[5], row[6])) for row in taken)


def _feeders(day: Day, target: psycopg.Connection) -> list[tuple]:
    faults = target.execute("SELECT feeder FROM faults WHERE state = 'OPEN'").fetchall()
    assets = target.execute("SELECT feeder, load FROM assets").fetchall()
    expected = []
    for name, title, homes in day.ask("SELECT * FROM FEEDERS"):
        loads = [load for feeder, load in assets if feeder == name]
        mean = round(sum(loads) / len(loads), 6) if loads else None
        expected.append((name, title, len(loads) if homes is None else homes, faults.count((name,)), mean))
    return sorted(expected)


def _text(number: float | None) -> str | None:
    return None if number is None else "NaN" if number != number else f"{number:g}"


def _point(x: float | None, y: float | None) -> str | None:
    inside = x is not None and y is not None and abs(x) <= 180 and abs(y) <= 90 and (x, y) != (0, 0)
    return f"POINT({x:g} {y:g})" if inside else None
