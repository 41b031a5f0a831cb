"""What must not grow with the number of declared tables: how often the server is asked, and how much it works out."""

from __future__ import annotations

import json

import pytest

from flux_assets.layers.status import table_statuses
from flux_assets.ledger.runs import register_declarations
from flux_assets.postgis.session import Target, run
from flux_assets.spec import StaticTable
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import made_up
from flux_assets_tests.round_trips import counting

MANY = tuple(made_up(f"poles_{number:03}") for number in range(60))


def registered(target: Target, tables: tuple[StaticTable, ...]) -> None:
    with target.session("test") as session:
        run(session, register_declarations(target.schema, tables, []))


@pytest.mark.parametrize("tables", [MANY[:2], MANY], ids=len)
def test_the_status_of_all_tables_takes_the_same_round_trips(target: Target, tables: tuple[StaticTable, ...]) -> None:
    registered(target, tables)
    with counting(target) as (counted, trips):
        assert len(table_statuses(counted, tables)) == len(tables)
    assert len(trips) <= 4, "\n".join(trips)


def test_what_is_asked_of_one_table_is_worked_out_of_that_alone(target: Target, sql: Sql) -> None:
    registered(target, MANY)
    asking = "SELECT * FROM postgres_sync.v_table_status WHERE schema_name = 'public' AND layer_name = 'poles_007'"
    ((found,),) = sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {asking}")
    assert max(loops(found[0]["Plan"])) < len(MANY), json.dumps(found)


def loops(plan: dict) -> list[int]:
    """How often each part of a plan was run."""
    return [plan["Actual Loops"], *(count for part in plan.get("Plans", []) for count in loops(part))]


def test_declarations_are_registered_by_a_statement_of_the_same_shape(target: Target, sql: Sql) -> None:
    """Parsing a row of VALUES for each table took each load 20 ms of 500 tables."""
    few, many = (register_declarations("public", tables, [])[0].as_string() for tables in (MANY[:2], MANY))
    assert few.count("(") == many.count("(")
    registered(target, MANY)
    assert sql("SELECT count(*), max(place) FROM postgres_sync.tables") == [(60, 60)]
