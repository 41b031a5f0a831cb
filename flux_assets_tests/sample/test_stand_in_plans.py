"""The stand-in rewrites a SELECT once for all literal times, and answers each as if it had been rewritten anew."""

from typing import Any
from uuid import uuid4

import fakesnow.server
import pytest
import snowflake.connector
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.instance import FakeSnow
from snowflake.connector.errors import ProgrammingError

from flux_assets.sample.stand_in.patches import plans
from flux_assets.sample.stand_in.patches.plans import Newest, Shape
from flux_assets_tests.conftest import shared_stand_in

EARLY, LATE = "2026-01-01 00:00:00", "2026-06-01 00:00:00"


@pytest.fixture(scope="module")
def database() -> str:
    """A database with two schemas whose tables T differ."""
    name = f"D{uuid4().hex[:8].upper()}"
    statements = [f"CREATE DATABASE {name}"]
    for schema, numbers in (("A", "(1, '2026-03-01'), (2, '2026-09-01')"), ("B", "(7, '2026-09-01')")):
        statements += [
            f"CREATE SCHEMA {name}.{schema}", f"CREATE TABLE {name}.{schema}.T (N NUMBER(10,0), BEGUN TIMESTAMP_NTZ)",
            f"INSERT INTO {name}.{schema}.T VALUES {numbers}",
        ]  # fmt: skip
    with connected() as connection:
        run(connection, *statements)
    return name


def connected(database: str | None = None, **other: str) -> snowflake.connector.SnowflakeConnection:
    place = {"database": database or "NOWHERE", "schema": "A"}
    return snowflake.connector.connect(**shared_stand_in().account().arguments() | place | other)


def run(connection: snowflake.connector.SnowflakeConnection, *statements: str) -> list[tuple[Any, ...]]:
    return [connection.cursor().execute(statement).fetchall() for statement in statements][-1]


def since(time: str, table: str) -> str:
    return f"SELECT N FROM {table} WHERE BEGUN >= '{time}'::TIMESTAMP_NTZ ORDER BY N"


def test_each_time_is_answered_for_itself(database: str) -> None:
    with connected(database) as connection:
        found = [
            run(connection, since(time, f"{database}.A.T")) for time in (EARLY, LATE, "2027-01-01 00:00:00", EARLY)
        ]
    assert found == [[(1,), (2,)], [(2,)], [], [(1,), (2,)]]


def test_two_times_keep_their_places(database: str) -> None:
    text = "SELECT '{}'::TIMESTAMP_NTZ < '{}'::TIMESTAMP_NTZ"
    asked = ((EARLY, EARLY), (EARLY, LATE), (LATE, EARLY), (EARLY, EARLY), (EARLY, LATE))
    with connected(database) as connection:
        found = [run(connection, text.format(*times)) for times in asked]
    assert found == [[(first < second,)] for first, second in asked]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("SELECT 'it''{}''s'", "it'{}'s"),
        ("SELECT '{}' /* '2026-12-31 00:00:00' */", "{}"),
        ("SELECT '{}' || 'x'", "{}x"),
        ("SELECT '2026-12-31 00:00:00.5' || '{}'", "2026-12-31 00:00:00.5{}"),
    ],
)
def test_a_time_that_is_no_literal_of_its_own_is_answered_too(text: str, wanted: str) -> None:
    with connected() as connection:
        for time in (EARLY, LATE):
            assert run(connection, text.format(time)) == [(wanted.format(time),)]


def test_a_column_that_is_named_after_its_expression_has_its_own_time_in_its_name(database: str) -> None:
    with connected(database) as connection:
        for time in (EARLY, LATE):
            (column,) = connection.cursor().execute(f"SELECT SUM(IFF(BEGUN > '{time}', 1, 0)) FROM T").description
            assert time in column.name


def test_the_same_text_means_what_it_means_now(database: str) -> None:
    with connected(database) as connection:
        for schema, wanted in (("A", [(2,)]), ("B", [(7,)]), ("A", [(2,)])):
            run(connection, f"USE SCHEMA {database}.{schema}")
            assert run(connection, since(LATE, "T")) == wanted
        for value in (2, 7):
            run(connection, f"SET WANTED = {value}")
            assert run(connection, f"SELECT N FROM {database}.A.T WHERE N = $WANTED") == ([(2,)] if value == 2 else [])
    with connected() as connection, pytest.raises(ProgrammingError, match="does not have a current database"):
        run(connection, since(LATE, "T"))


def test_a_table_may_change_between(database: str) -> None:
    name = f"{database}.A.CHANGED"
    with connected(database) as connection:
        run(connection, f"CREATE TABLE {name} (N NUMBER(10,0))", f"INSERT INTO {name} VALUES (1)")
        assert run(connection, f"SELECT * FROM {name}") == [(1,)]
        described = connection.cursor().describe(f"SELECT * FROM {name}")
        run(connection, f"ALTER TABLE {name} ADD COLUMN M VARCHAR(5)")
        assert run(connection, f"SELECT * FROM {name}") == [(1, None)]
        again = connection.cursor().describe(f"SELECT * FROM {name}")
        assert [[column.name for column in each] for each in (described, again)] == [["N"], ["N", "M"]]
        run(connection, f"DROP TABLE {name}")
        with pytest.raises(ProgrammingError, match="CHANGED"):
            run(connection, f"SELECT * FROM {name}")


def test_an_earlier_result_is_handed_out_again_each_time(database: str) -> None:
    with connected(database) as connection:
        cursor = connection.cursor().execute(since(EARLY, f"{database}.A.T"))
        scan = f"SELECT * FROM TABLE(RESULT_SCAN('{cursor.sfqid}'))"
        assert [run(connection, scan) for _ in range(3)] == [[(1,), (2,)]] * 3


def test_each_parameter_is_answered_for_itself(database: str) -> None:
    with connected(database, paramstyle="qmark") as connection:
        for number in (1, 2):
            text = "SELECT N FROM A.T WHERE N = ?"
            assert connection.cursor().execute(text, (number,)).fetchall() == [(number,)]


def test_a_statement_is_rewritten_once_for_all_times(monkeypatch: pytest.MonkeyPatch) -> None:
    rewritten = []
    plain = FakeSnowflakeCursor._transform
    for name in ("execute", "_transform"):
        monkeypatch.setattr(FakeSnowflakeCursor, name, getattr(FakeSnowflakeCursor, name))
    monkeypatch.setattr(fakesnow.server, "parse_one", fakesnow.server.parse_one)
    monkeypatch.setattr(
        FakeSnowflakeCursor, "_transform", lambda self, tree, params: rewritten.append(1) or plain(self, tree, params)
    )
    plans.patch()
    cursor, mine = FakeSnow().connect("D", "S").cursor(), uuid4().hex
    for time in (EARLY, LATE, EARLY):
        (found,) = cursor.execute(f"SELECT '{time}'::TIMESTAMP_NTZ::VARCHAR || '{mine}'").fetchall()[0]
        assert found.startswith(time)
    assert len(rewritten) == 1
    cursor.execute(f"SELECT '{mine}'")
    assert len(rewritten) == 2


def test_shapes() -> None:
    assert Shape.of(f"select '{EARLY}', '2026-01-01T00:00:00.25'") == Shape(
        "select '0000-00-00 00:00:00', '0000-00-00T00:00:00.00'", (EARLY, "2026-01-01T00:00:00.25")
    )
    assert Shape.of("SELECT 1") == Shape("SELECT 1", ())
    assert Shape.of(f"SELECT '{EARLY}', '{EARLY}'") is None
    assert Shape.of(f"INSERT INTO T VALUES ('{EARLY}')") is None
    assert Shape.of("SELECTED") is None


def test_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "_KEPT", 2)
    newest: Newest[int] = Newest()
    for number in range(3):
        newest.put(number, number)
    assert [newest.get(number) for number in range(3)] == [None, 1, 2]


class Tree:
    """A rewritten statement, of which nothing is asked but its text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def sql(self, dialect: str) -> str:
        return self.text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"SELECT '{EARLY}', '{LATE}'", "SELECT 'b', 'a'"),
        (f"SELECT '{LATE}', '{EARLY}', '{EARLY}'", "SELECT 'a', 'b', 'b'"),
        (f"SELECT '{EARLY}'", None),
        (f"SELECT '{EARLY}', '{LATE}', ' {LATE} '", None),
    ],
    ids=["as they came", "moved and doubled", "one is gone", "one is in a longer text too"],
)
def test_a_plan_is_kept_where_each_time_stands_for_itself_alone(text: str, wanted: str | None) -> None:
    plan = plans.Plan.of(Tree(text), (EARLY, LATE))
    assert (plan and plan.at(("b", "a")).sql(dialect="duckdb")) == wanted
