"""Which column feeds which target: both shapes, odd names, other types, configuration; on a real source."""

import datetime as dt
import re
from dataclasses import replace
from functools import partial

import pytest
import yaml

from flux_assets.errors import SourceError
from flux_assets.tables import dynamic_tables
from flux_assets_tests import sourced
from flux_assets_tests.cases import CASE_FILES
from flux_assets_tests.sourced import PLAIN, expressions, mapping, read
from flux_assets_tests.synced import FAULTS

SHAPES = yaml.safe_load((CASE_FILES / "source_shapes.yaml").read_text())
# A further table has a shape once one is in the field.
TABLES = {table.source: table for table in dynamic_tables() if table.source in SHAPES}


@pytest.fixture
def tell(source):
    return partial(sourced.tell, source)


@pytest.fixture
def config(tmp_path):
    return partial(sourced.config, tmp_path)


# The two shapes of the facts.


def column_type(name: str) -> str:
    if name in {"LATITUDE", "LONGITUDE", "LENGTH_MILES"} or name.endswith(("_HOURS", "_MINUTES")):
        return "FLOAT"
    if name in {"DESCRIPTION", "NOTES"}:
        return "TEXT"
    if name == "REPORTABLE_TO_PUC":
        return "BOOLEAN"
    if name.endswith(("_SCORE", "_FACTOR", "_HOURS", "_LAT", "_LON", "_USD", "_ACCUMULATED")):
        return "FLOAT"
    if "CUSTOMER" in name or name in {"AFFECTED_TRANSFORMERS", "AFFECTED_POLES", "ASSIGNED_CREW_COUNT"}:
        return "NUMBER(10,0)"
    times = ("_TIME", "_START", "_END", "_AT", "_DATE", "_RESTORATION", "_TIMESTAMP")
    return "TIMESTAMP_NTZ" if name.endswith(times) else "VARCHAR(50)"


MISSING = {
    ("OUTAGE_RESTORATION_TRACKER", "shape_b"): {
        "outage_type", "customers_restored", "priority", "latitude", "longitude",
    },
    ("OUTAGE_RESTORATION_TRACKER", "shape_c"): {
        "outage_type", "customers_restored", "priority", "actual_restoration", "crew_assigned",
    },
    ("WORK_ORDERS", "shape_c"): {"assigned_crew", "transformer_id", "scheduled_end", "actual_start", "actual_end"},
}  # fmt: skip


def make(tell, source: str, which: str) -> None:
    tell(f"CREATE TABLE {source} ({', '.join(f'{name} {column_type(name)}' for name in SHAPES[source][which])})")


@pytest.mark.parametrize("which", ["shape_a", "shape_b", "shape_c"])
@pytest.mark.parametrize("name", TABLES)
def test_all_shapes_work_without_configuration(tell, source, name, which):
    make(tell, name, which)
    columns = SHAPES[name][which]
    values = [
        "SYSDATE()" if column_type(c) == "TIMESTAMP_NTZ" else "'ACTIVE'" if c.endswith("STATUS") else "7"
        for c in columns
    ]
    tell(f"INSERT INTO {name} SELECT {', '.join(values)}")
    (row,) = read(source, TABLES[name])
    assert set(row) == set(TABLES[name].source_filled)
    optional = {column.target: column.names for column in TABLES[name].source_columns if column.optional}
    absent = {target for target, names in optional.items() if set(columns).isdisjoint(names)}
    missing = set(mapping(source, TABLES[name]).missing)
    assert {column for column, value in row.items() if value is None} == missing | absent
    assert missing == MISSING.get((name, which), set())
    assert not absent or which != "shape_c"


def test_a_column_that_is_often_empty_gives_way_to_the_next(tell, source):
    """WORK_ORDER_TYPE and SCHEDULED_START are often NULL in shape b, with WORK_TYPE and SCHEDULED_DATE filled."""
    make(tell, "WORK_ORDERS", "shape_b")
    tell("""
        INSERT INTO WORK_ORDERS (WORK_ORDER_ID, STATUS, WORK_ORDER_TYPE, WORK_TYPE, SCHEDULED_START, SCHEDULED_DATE)
            SELECT 'A', 'DONE', NULL, 'REPAIR', NULL, SYSDATE();
        INSERT INTO WORK_ORDERS (WORK_ORDER_ID, STATUS, WORK_ORDER_TYPE, WORK_TYPE, SCHEDULED_START, SCHEDULED_DATE)
            SELECT 'B', 'OPEN', 'INSPECTION', 'REPAIR', '2020-01-01', '2021-01-01';
        INSERT INTO WORK_ORDERS (WORK_ORDER_ID, STATUS, SCHEDULED_DATE) SELECT 'C', 'DONE', '2021-01-01'
    """)
    a, b = read(source, TABLES["WORK_ORDERS"])
    assert (a["work_order_id"], a["work_order_type"], a["scheduled_start"] is None) == ("A", "REPAIR", False)
    assert (b["work_order_type"], b["scheduled_start"]) == ("INSPECTION", dt.datetime(2020, 1, 1))


def test_a_status_that_is_missing_takes_what_the_declaration_says(tell, source):
    make(tell, "CIRCUIT_METADATA", "shape_a")
    tell("INSERT INTO CIRCUIT_METADATA (CIRCUIT_ID, STATUS) VALUES ('B', NULL), ('A', 'OFF')")
    rows = read(source, TABLES["CIRCUIT_METADATA"])
    assert [(row["circuit_id"], row["status"]) for row in rows] == [("A", "OFF"), ("B", "ENERGIZED")]


def test_a_status_column_that_is_missing_is_reported_and_takes_the_same(tell, source):
    make(tell, "CIRCUIT_METADATA", "shape_a")
    tell("ALTER TABLE CIRCUIT_METADATA DROP COLUMN STATUS; INSERT INTO CIRCUIT_METADATA (CIRCUIT_ID) VALUES ('A')")
    (row,) = read(source, TABLES["CIRCUIT_METADATA"])
    assert row["status"] == "ENERGIZED"
    assert mapping(source, TABLES["CIRCUIT_METADATA"]).missing == ("status",)


def test_further_columns_and_their_order_do_no_harm(tell, source):
    tell(PLAIN)
    before = mapping(source)
    tell("ALTER TABLE FAULTS ADD COLUMN NOTES VARCHAR; ALTER TABLE FAULTS ADD COLUMN PAYLOAD VARIANT")
    assert mapping(source) == before
    assert mapping(source).digest == before.digest
    tell("CREATE OR REPLACE TABLE FAULTS AS SELECT LAT, LON, HOMES, BEGUN, STATE, FEEDER, FAULT_ID FROM FAULTS")
    assert mapping(source).digest == before.digest
    assert [row["fault_id"] for row in read(source)] == ["F1", "F2"]


def test_a_view_is_as_good_as_a_table(tell, source, config):
    tell(PLAIN + "; CREATE VIEW V AS SELECT * FROM FAULTS WHERE STATE = 'OPEN'")
    overrides = config(f"[FAULTS]\nobject = '{source.database}.PRODUCTION.V'")
    assert [row["fault_id"] for row in read(source, overrides=overrides)] == ["F2"]


def test_an_object_in_another_schema_under_an_odd_name(tell, source, config):
    tell(PLAIN + '; CREATE SCHEMA OPS; CREATE TABLE OPS."My faults" AS SELECT * FROM PRODUCTION.FAULTS')
    overrides = config("[FAULTS]\nobject = 'ops.\"My faults\"'")
    assert len(read(source, overrides=overrides)) == 2


def test_columns_in_quotes_and_lower_case(tell, source):
    tell(
        PLAIN
        + """; CREATE TABLE LOWER_ONES AS
        SELECT FAULT_ID "fault_id", FEEDER "Feeder", STATE "state", BEGUN "begun", HOMES "homes" FROM FAULTS;
        DROP TABLE FAULTS; CREATE VIEW FAULTS AS SELECT * FROM LOWER_ONES"""
    )
    assert [row["fault_id"] for row in read(source)] == ["F1", "F2"]
    assert mapping(source).missing == ("lon", "lat")
    assert expressions(mapping(source))["feeder"] == '"Feeder"'


def test_the_exact_name_comes_before_one_in_another_case(tell, source):
    tell(
        PLAIN
        + """; CREATE TABLE BOTH_ONES AS SELECT *, 'wrong' AS "fault_id" FROM FAULTS;
        DROP TABLE FAULTS; CREATE VIEW FAULTS AS SELECT * FROM BOTH_ONES"""
    )
    assert expressions(mapping(source))["fault_id"] == '"FAULT_ID"'


def test_a_missing_required_column_names_table_column_and_what_was_found(tell, source):
    tell(PLAIN + "; ALTER TABLE FAULTS RENAME COLUMN STATE TO CONDITION")
    with pytest.raises(SourceError) as refused:
        mapping(source)
    said = str(refused.value)
    assert "faults.state is required" in said
    assert '"FAULTS" has none of the columns STATE' in said
    assert "CONDITION (VARCHAR)" in said
    assert "HOMES (NUMBER)" in said
    assert '[FAULTS.columns] state = "COLUMN"' in said


def test_a_missing_optional_column_is_null_and_reported(tell, source):
    tell(PLAIN + "; ALTER TABLE FAULTS DROP COLUMN LON")
    assert mapping(source).missing == ("lon",)
    assert [row["lon"] for row in read(source)] == [None, None]


@pytest.mark.parametrize(
    ("column", "type_", "said", "cure"),
    [
        ("HOMES", "VARCHAR", "faults.homes is integer", "homes = { expression = 'TRY_TO_NUMBER("),
        ("BEGUN", "NUMBER(10,0)", "faults.begun is timestamp", "begun = { expression = 'TRY_CAST("),
        ("LAT", "TIMESTAMP_NTZ", "faults.lat is double precision", "lat = { expression = 'TRY_TO_DOUBLE("),
        ("FEEDER", "BOOLEAN", "faults.feeder is varchar(10)", "feeder = { expression = 'TO_VARCHAR("),
    ],
)
def test_a_column_of_another_type_is_refused_with_the_line_that_fixes_it(tell, source, column, type_, said, cure):
    tell(PLAIN + f"; ALTER TABLE FAULTS DROP COLUMN {column}; ALTER TABLE FAULTS ADD COLUMN {column} {type_}")
    with pytest.raises(SourceError) as refused:
        mapping(source)
    assert said in str(refused.value)
    assert f"{column} (" in str(refused.value)
    assert cure in refused.value.remedy


def test_the_line_that_fixes_it_does(tell, source, config):
    """The remedy is a line of FLUX_CONFIG: put it in, and the table is read."""
    tell(PLAIN + "; CREATE VIEW V AS SELECT FAULT_ID, FEEDER, STATE, BEGUN, HOMES::VARCHAR AS HOMES FROM FAULTS")
    moved = "[FAULTS]\nobject = 'V'\n"
    with pytest.raises(SourceError) as refused:
        mapping(source, overrides=config(moved))
    section, line = refused.value.remedy.rstrip(".").split(": ", 1)[1].split("] ", 1)
    rows = read(source, overrides=config(f"{moved}{section}]\n{line}\n"))
    assert [row["homes"] for row in rows] == [None, 5]


def test_a_later_name_of_another_type_is_left_out(tell, source):
    """An additive change must not stop a table: here, a column that happens to have the name of second choice."""
    tell(PLAIN + "; ALTER TABLE FAULTS ADD COLUMN STATE_CODE BOOLEAN")
    columns = [replace(c, names=("STATE", "STATE_CODE")) if c.target == "state" else c for c in FAULTS.source_columns]
    found = mapping(source, replace(FAULTS, source_columns=tuple(columns)))
    assert expressions(found)["state"] == '"STATE"'


def test_identifiers_that_are_kept_as_numbers(tell, source):
    tell(PLAIN + "; CREATE VIEW V AS SELECT 17::NUMBER(10,0) AS FAULT_ID, FEEDER, STATE, BEGUN FROM FAULTS")
    rows = read(source, replace(FAULTS, source="V"))
    assert {row["fault_id"] for row in rows} == {"17"}


# Configuration of columns.


def test_configured_names_and_expressions(tell, source, config):
    tell(PLAIN + "; CREATE VIEW V AS SELECT FAULT_ID AS NR, FEEDER, STATE, BEGUN, HOMES FROM FAULTS")
    overrides = config("""
        [FAULTS]
        object = "V"
        columns = { fault_id = "nr", homes = { expression = "HOMES * 2" }, state = { expression = "'O' || 'PEN'" } }
    """)
    assert [(r["fault_id"], r["homes"], r["state"]) for r in read(source, overrides=overrides)] == [
        ("F1", None, "OPEN"), ("F2", 10, "OPEN"), ("F3", None, "OPEN"),
    ]  # fmt: skip


def test_a_configured_column_that_is_not_there(tell, source, config):
    tell(PLAIN)
    with pytest.raises(SourceError) as refused:
        mapping(source, overrides=config("[FAULTS.columns]\nhomes = 'CUSTOMERS'"))
    assert "has no column CUSTOMERS" in str(refused.value)
    assert "flux.toml" in str(refused.value)
    assert "FAULTS.columns.homes" in refused.value.remedy


@pytest.mark.parametrize("expression", ["HOUSES + 1", "HOMES +", "NO_SUCH_FUNCTION(HOMES)"])
def test_an_expression_that_does_not_compile_is_named(tell, source, config, expression):
    tell(PLAIN)
    with pytest.raises(SourceError, match=r"faults\.homes \(columns\.homes in .*flux\.toml") as refused:
        mapping(source, overrides=config(f"[FAULTS.columns]\nhomes = {{ expression = '{expression}' }}"))
    assert refused.value.remedy.startswith(f"Correct the expression: {expression}")
    assert "GRANT" not in refused.value.remedy
    assert "report" not in refused.value.remedy


def test_text_of_an_expression_may_hold_numbers_and_is_judged_when_it_arrives(tell, source, config):
    tell(PLAIN)
    overrides = config("[FAULTS.columns]\nhomes = { expression = 'HOMES::VARCHAR' }")
    assert [row["homes"] for row in read(source, overrides=overrides)] == [None, 5]
    tell("UPDATE FAULTS SET FEEDER = 'a dozen' WHERE FAULT_ID = 'F2'")
    overrides = config("[FAULTS.columns]\nhomes = { expression = 'FEEDER' }\nfeeder = 'STATE'")
    with pytest.raises(SourceError, match=r"faults\.homes: 'A' is not a value of integer \(key F1"):
        read(source, overrides=overrides)


def test_an_expression_of_a_wrong_type_is_refused(tell, source, config):
    tell(PLAIN)
    with pytest.raises(SourceError, match=r"faults\.begun is timestamp"):
        mapping(source, overrides=config("[FAULTS.columns]\nbegun = { expression = 'HOMES' }"))


def test_what_looks_like_a_template_is_only_text(tell, source, config):
    tell(PLAIN)
    overrides = config("""[FAULTS.columns]\nfeeder = { expression = "'<% a %>' || '{# b #}'" }""")
    with pytest.raises(SourceError, match=re.escape("'<% a %>{# b #}' has 14 characters, varchar(10) takes 10")):
        read(source, overrides=overrides)
