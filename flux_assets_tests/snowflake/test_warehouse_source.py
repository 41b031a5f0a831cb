"""The rows of a source: which are taken, their times, their snapshot; the real connector against fakesnow's server."""

import datetime as dt
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table

from flux_assets.errors import SourceError, WarehouseError
from flux_assets.snowflake.overrides import Overrides
from flux_assets.snowflake.source import Source
from flux_assets.spec import DynamicTable
from flux_assets.spec.facts import SourceColumn
from flux_assets_tests import sourced
from flux_assets_tests.sourced import PLAIN, mapping, opened, read
from flux_assets_tests.synced import FAULTS


@pytest.fixture
def tell(source):
    return partial(sourced.tell, source)


@pytest.fixture
def config(tmp_path):
    return partial(sourced.config, tmp_path)


# Columns and objects as they are found.


def test_open_rows_and_those_in_the_window_in_the_order_of_the_key(tell, source):
    tell(PLAIN)
    rows = read(source)
    assert [row["fault_id"] for row in rows] == ["F1", "F2"]
    assert str(rows[1]["lat"]) == "nan"
    assert rows[0]["homes"] is None


def test_a_row_leaves_the_window_at_the_very_instant(tell, source):
    tell(PLAIN)
    begun = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)
    with opened(source) as opened_source:
        found = opened_source.mapping(FAULTS)
        for instant, taken in (
            (begun + dt.timedelta(days=7), True),
            (begun + dt.timedelta(days=7, microseconds=1), False),
        ):
            keys = {row["fault_id"] for batch in opened_source.rows(found, instant) for row in batch.to_pylist()}
            assert ("F3" in keys) is taken


# Time.

TIMES = """
CREATE TABLE T (FAULT_ID VARCHAR, FEEDER VARCHAR, STATE VARCHAR,
                NTZ TIMESTAMP_NTZ, TZ TIMESTAMP_TZ, LTZ TIMESTAMP_LTZ, D DATE);
INSERT INTO T SELECT 'F1', 'A', 'OPEN', '2024-07-01 12:00:00.123456', '2024-07-01 12:00:00+02:00',
                     '2024-07-01 12:00:00', '2024-07-01';
"""


@pytest.mark.parametrize(
    ("column", "zone", "wanted"),
    [
        ("NTZ", "UTC", dt.datetime(2024, 7, 1, 12, 0, 0, 123456)),
        ("NTZ", "America/Chicago", dt.datetime(2024, 7, 1, 17, 0, 0, 123456)),
        ("TZ", "UTC", dt.datetime(2024, 7, 1, 10)),
        ("TZ", "America/Chicago", dt.datetime(2024, 7, 1, 10)),
        ("LTZ", "America/Chicago", dt.datetime(2024, 7, 1, 12)),
        ("D", "UTC", dt.datetime(2024, 7, 1)),
        ("D", "America/Chicago", dt.datetime(2024, 7, 1, 5)),
    ],
)
def test_every_kind_of_time_becomes_utc(tell, source, config, column, zone, wanted):
    tell(TIMES)
    overrides = config(f"[FAULTS]\nobject = 'T'\ntime_zone = '{zone}'\ncolumns.begun = '{column}'")
    assert [row["begun"] for row in read(source, overrides=overrides)] == [wanted]


@pytest.mark.parametrize("when", ["9999-12-31 23:59:59.999999", "0001-01-01 00:00:00.000001", "1969-12-31 23:59:59.5"])
def test_years_far_from_now_survive(tell, source, when):
    tell(PLAIN + f"; UPDATE FAULTS SET BEGUN = '{when}', STATE = 'OPEN'")
    assert {row["begun"] for row in read(source)} == {dt.datetime.fromisoformat(when)}


def test_the_newest_change_is_told_and_not_stored(tell, source):
    tell(PLAIN + "; ALTER TABLE FAULTS ADD COLUMN UPDATED_AT TIMESTAMP_NTZ")
    with opened(source) as opened_source:
        rows = opened_source.rows(opened_source.mapping(FAULTS), opened_source.instant())
        assert rows.newest_change is None
        assert [batch.schema.names for batch in rows] == [list(FAULTS.source_filled)]
        assert rows.newest_change is None
        tell("UPDATE FAULTS SET UPDATED_AT = '2024-01-05 10:00:00' WHERE FAULT_ID = 'F2'")
        rows = opened_source.rows(opened_source.mapping(FAULTS), opened_source.instant())
        assert sum(batch.num_rows for batch in rows) == rows.rows == 2
        assert rows.newest_change == dt.datetime(2024, 1, 5, 10, tzinfo=dt.UTC)
        assert rows.bytes > 0


# Values that do not fit.


@pytest.mark.parametrize(
    ("set_", "said"),
    [
        ("FEEDER = 'a long feeder'", "faults.feeder: 'a long feeder' has 13 characters, varchar(10) takes 10 (key F2)"),
        ("HOMES = 3000000000", "faults.homes: 3000000000 is not a value of integer (key F2)"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_name_their_key(tell, source, set_, said):
    tell(PLAIN + f"; UPDATE FAULTS SET {set_} WHERE FAULT_ID = 'F2'")
    with pytest.raises(SourceError) as refused:
        read(source)
    assert said in str(refused.value)


# What a source holds at all.


def test_existing_keys_are_found_outside_the_row_filter_too(tell, source):
    tell(PLAIN + "; INSERT INTO FAULTS SELECT 'O''Neil\\\\x', 'A', 'SHUT', '2020-01-01', 1, 1, 1")
    with opened(source) as opened_source:
        found, instant = opened_source.mapping(FAULTS), opened_source.instant()
        asked = [("F1",), ("F3",), ("F9",), ("O'Neil\\x",), *((f"N{i}",) for i in range(2500))]
        assert opened_source.existing(found, asked, instant) == {("F1",), ("F3",), ("O'Neil\\x",)}
        assert opened_source.existing(found, [], instant) == set()


def test_existing_keys_of_several_columns(tell, source):
    tell("CREATE TABLE READINGS AS SELECT 'M''1' METER, 1 PHASE, 2.5 AMPERE UNION ALL SELECT 'M2', 1, 2.5")
    table = DynamicTable(
        table=Table(
            "readings", MetaData(), Column("meter", String(10), primary_key=True, comment="Meter."),
            Column("phase", Integer, primary_key=True, autoincrement=False, comment="Phase."), comment="Readings.",
        ),
        source="READINGS",
        source_columns=tuple(SourceColumn(target=name, names=(name.upper(),)) for name in ("meter", "phase")),
    )  # fmt: skip
    with opened(source) as opened_source:
        found, instant = opened_source.mapping(table), opened_source.instant()
        asked = [("M'1", 1), ("M'1", 2), ("M2", 1), ("M3", 1)]
        assert opened_source.existing(found, asked, instant) == {("M'1", 1), ("M2", 1)}


# What the source can do, and what is done without.


def test_the_stand_in_reads_all_tables_as_of_one_instant(tell, source):
    tell(PLAIN + "; CREATE TABLE OTHERS AS SELECT * FROM FAULTS")
    with opened(source) as opened_source:
        assert opened_source.capabilities.snapshot_transaction
        found = [opened_source.mapping(FAULTS), opened_source.mapping(replace(FAULTS, source="OTHERS"))]
        instant = opened_source.instant()
        assert abs(instant - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)
        counts = []
        for one in found:
            counts.append(sum(batch.num_rows for batch in opened_source.rows(one, instant)))
            tell("DELETE FROM FAULTS; DELETE FROM OTHERS")
        assert counts == [2, 2]
        assert [sum(b.num_rows for b in opened_source.rows(one, opened_source.instant())) for one in found] == [0, 0]


def test_one_statement_is_a_snapshot_by_itself(tell, source):
    tell(PLAIN)
    with opened(source) as opened_source:
        found = opened_source.mapping(FAULTS)
        counts = []
        for statements in (2, 1):
            with opened(source) as reader:
                instant = reader.instant(statements)
                assert sum(batch.num_rows for batch in reader.rows(found, instant)) == 2
                tell("INSERT INTO FAULTS SELECT 'F4', 'A', 'OPEN', SYSDATE(), 1, 1, 1")
                counts.append(sum(batch.num_rows for batch in reader.rows(found, instant)))
                tell("DELETE FROM FAULTS WHERE FAULT_ID = 'F4'")
        assert counts == [2, 3], "a transaction holds what it has seen; without one each statement sees what is there"


def test_what_is_read_in_any_case_is_described_ahead_once(tell, source):
    tell(PLAIN)
    with opened(source) as opened_source:
        missing = replace(FAULTS, source="MISSING")
        opened_source.look_ahead([missing])
        with pytest.raises(SourceError, match=r"MISSING.* does not exist"):
            opened_source.mapping(missing)
        opened_source.look_ahead([FAULTS])
        tell("ALTER TABLE FAULTS ADD COLUMN NEW VARCHAR; ALTER TABLE FAULTS RENAME TO ELSEWHERE")
        found = opened_source.mapping(FAULTS)
        assert {column.target for column in found.columns} == set(FAULTS.source_filled)
        with pytest.raises(SourceError, match=r"FAULTS.* does not exist"):
            opened_source.mapping(FAULTS)


def test_mappings_looked_at_ahead_are_told_apart_until_they_are_used(tell, source):
    tell(PLAIN)
    missing = replace(FAULTS, source="MISSING")
    with opened(source) as opened_source:
        opened_source.look_ahead([missing, FAULTS])
        assert opened_source.mappings([missing, FAULTS]) == {"faults": mapping(source).digest}
        opened_source.mapping(FAULTS)
        assert opened_source.mappings([FAULTS]) == {}


def test_a_table_that_is_refused_does_not_stop_the_others(tell, source):
    """DuckDB ends a transaction with the first statement that fails in it."""
    tell(PLAIN)
    with opened(source) as opened_source:
        instant = opened_source.instant()
        with pytest.raises(SourceError, match=r"MISSING.* does not exist"):
            opened_source.mapping(replace(FAULTS, source="MISSING"))
        found = opened_source.mapping(FAULTS)
        assert sum(batch.num_rows for batch in opened_source.rows(found, instant)) == 2


def test_what_the_source_refuses_is_asked_once_and_done_without(tell, source):
    """A source that nobody says is a stand-in: it is asked for time travel and change tokens, and has neither."""
    tell(PLAIN)
    said: list[str] = []
    with Source.open(replace(source, stand_in=False), Overrides(), log=said.append) as opened_source:
        assert opened_source.capabilities.time_travel
        assert opened_source.capabilities.change_token
        assert opened_source.tokens([FAULTS]) is None
        found = opened_source.mapping(FAULTS)
        assert opened_source.mapping(FAULTS) == found
        assert opened_source.capabilities.time_travel, "it is asked by whoever reads"
        assert not opened_source.capabilities.change_token
        for _ in range(2):
            assert sum(batch.num_rows for batch in opened_source.rows(found, opened_source.instant())) == 2
        assert not opened_source.capabilities.time_travel
        assert opened_source.tokens([FAULTS]) is None
    assert len(said) == 2
    assert "all sources are read for changes" in said[0]
    assert "cannot be read as of an instant" in said[1]


def test_a_wrong_database_is_told_per_table(source):
    with pytest.raises(SourceError, match=r"NOWHERE\.PRODUCTION.*SNOWFLAKE_DATABASE"):
        mapping(replace(source, database="NOWHERE"))


def test_nobody_listens(source):
    gone = replace(source, port=1, login_timeout=1, network_timeout=1)
    with pytest.raises(WarehouseError, match=r"127\.0\.0\.1:1 cannot be reached"), opened(gone):
        pass
