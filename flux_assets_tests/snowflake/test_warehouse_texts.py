"""The texts of the queries: the files of sql/snowflake/, Snow CLI's rendering of them, Snowflake's grammar."""

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlglot
from sqlglot import exp

from flux_assets.errors import SourceError
from flux_assets.retry import RetryPolicy
from flux_assets.settings import REPOSITORY
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.columns import FoundColumn, Resolver
from flux_assets.snowflake.faults import Subject
from flux_assets.snowflake.mapping import (
    Mapping,
    ObjectName,
    literal,
    render,
    template,
    tokens_template,
)
from flux_assets.snowflake.overrides import Overrides, SourceOverride
from flux_assets.snowflake.session import Session, connect_directly
from flux_assets.snowflake.source import Source
from flux_assets.spec import DynamicTable
from flux_assets.sqlfiles import script
from flux_assets.tables import dynamic_tables
from flux_assets_tests import sourced
from flux_assets_tests.synced import FAULTS
from scripts.write_source_queries import TOKENS, declared_mapping, texts

FOLDER = REPOSITORY / "sql" / "snowflake"
FILES = sorted(path.name for path in FOLDER.glob("*.sql"))
SNOW_CLI = REPOSITORY / ".venv" / "snow-cli" / "bin" / "python"
ACCOUNT = Account(account="ab12345", user="FLUX")
INSTANT = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
DEFINED = {
    "database": "FLUX_DB", "role": "FLUX_SYNC", "warehouse": "FLUX_WH", "user": "FLUX",
    "object": "FLUX_DB.PRODUCTION.WORK_ORDERS",
}  # fmt: skip
# What `snow sql -f` does with a file's text: this function of Snow CLI, on its whole text.
RENDER = """
import json, sys
from snowflake.cli.api.rendering.sql_templates import SQLTemplateSyntaxConfig, snowflake_sql_jinja_render
asked = json.load(sys.stdin)
said = [snowflake_sql_jinja_render(text, SQLTemplateSyntaxConfig(), data) for text, data in asked]
print(json.dumps(said))
"""
each_table = pytest.mark.parametrize("table", dynamic_tables(), ids=lambda table: table.name)
each_file = pytest.mark.parametrize("name", FILES)


def parsed(text: str) -> exp.Expression:
    """The one statement, as Snowflake's grammar reads it; no part may be left as unknown text."""
    (statement,) = sqlglot.parse(text, read="snowflake", error_level=sqlglot.ErrorLevel.RAISE)
    assert statement is not None
    assert not isinstance(statement, exp.Command)
    return statement


def in_chicago(table: DynamicTable) -> Mapping:
    """A mapping with all that the default one lacks: other kinds of times, alternatives, a change column."""
    found = [
        FoundColumn(name=name, kind="TIMESTAMP_TZ" if place else "TIMESTAMP_NTZ")
        if "TIME" in name or "SCHEDULED" in name or "BEGUN" in name
        else FoundColumn(name=name, kind=kind)
        for column in table.source_columns
        for place, name in enumerate(column.names)
        for kind in [declared_kind(table, column.target)]
    ]
    resolver = Resolver(
        table=table,
        override=SourceOverride(time_zone="America/Chicago"),
        object=f'FLUX_DB.PRODUCTION."{table.source}"',
        object_template=ObjectName(name=table.source).template,
        found=[*found, FoundColumn(name="UPDATED_AT", kind="TIMESTAMP_LTZ")],
    )
    return resolver.mapping()


def declared_kind(table: DynamicTable, target: str) -> str:
    column = table.table.columns[target].type.__class__.__name__
    return {"DateTime": "TIMESTAMP_NTZ", "Double": "REAL", "Integer": "FIXED"}.get(column, "TEXT")


# The files.


def test_the_generated_files_are_those_of_the_declarations():
    """After a change of a declaration: .venv/bin/python scripts/write_source_queries.py."""
    assert {name: (FOLDER / name).read_text() for name in texts(dynamic_tables())} == texts(dynamic_tables())


def test_every_declared_source_can_be_granted():
    grants = script("snowflake/grants.sql")
    assert {table.source for table in dynamic_tables() if f".{table.source} TO ROLE" not in grants} == set()


def test_the_role_may_read_and_nothing_else():
    granted = [line for line in script("snowflake/grants.sql").splitlines() if "GRANT" in line]
    allowed = ("GRANT USAGE ON ", "GRANT SELECT ON TABLE ", "GRANT ROLE <% role %> TO USER ")
    assert [line for line in granted if not line.startswith(allowed)] == []
    assert len(granted) == 7


def test_a_table_without_a_file_works():
    assert f"{FAULTS.name}.sql" not in FILES
    assert 'FROM FLUX_DB.PRODUCTION."FAULTS"' in declared_mapping(FAULTS).rows_query(ACCOUNT, INSTANT, travel=False)


@each_table
def test_the_file_holds_the_text_that_the_sync_runs(table):
    text = script(f"snowflake/{table.name}.sql")
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("--"))
    assert text == head + declared_mapping(table).rows_template
    # With the sync's values instead of the defaults, nothing else differs.
    alone = render(text.removeprefix(head), database="FLUX_DB")
    synced = declared_mapping(table).rows_query(ACCOUNT, INSTANT, travel=True)
    other = [(a, b) for a, b in zip(alone.splitlines(), synced.splitlines(), strict=True) if a != b]
    assert [b.startswith(a) if "FROM" in a else a.split(">=")[0] == b.split(">=")[0] for a, b in other] == [True] * len(
        other
    )
    assert len(other) == (2 if table.row_filter else 1)


# Snow CLI.


def test_snow_cli_renders_as_we_do():
    """Byte for byte, with what people give on the command line, and with everything that the sync gives."""
    assert SNOW_CLI.is_file(), "make setup installs Snow CLI"
    every = DEFINED | {"schema": "OPS", "snapshot": " AT(OFFSET => -60)", "cutoff": literal(INSTANT)}
    odd = template("SELECT '<% x %>', '{# y #}', \"it's\", '{{ z }}', 100 % 3 -- <%")
    # Fewer variables first: within one process Snow CLI remembers those of the texts before.
    asked = [*((script(f"snowflake/{name}"), data) for data in (DEFINED, every) for name in FILES), (odd, every)]
    command = [str(SNOW_CLI), "-c", RENDER]
    printed = subprocess.run(command, input=json.dumps(asked), check=True, capture_output=True, text=True, cwd="/")
    for (text, data), said in zip(asked, json.loads(printed.stdout.splitlines()[-1]), strict=True):
        assert render(text, **data) == said
    assert said.endswith("""'<% x %>', '{# y #}', "it's", '{{ z }}', 100 % 3 -- <%""")


@each_file
def test_a_file_needs_only_the_variables_that_it_names(name):
    text = script(f"snowflake/{name}")
    named = {key: value for key, value in DEFINED.items() if f'-D "{key}=' in text}
    assert render(text, **named)


# Snowflake's grammar, for what only Snowflake runs.


@each_table
@pytest.mark.parametrize("mapped", [declared_mapping, in_chicago])
@pytest.mark.parametrize("travel", [True, False])
def test_row_queries_are_snowflake_s(table, mapped, travel):
    mapping = mapped(table)
    statement = parsed(mapping.rows_query(ACCOUNT, INSTANT, travel=travel))
    optional = {column.target for column in table.source_columns if column.optional and mapped is declared_mapping}
    read = [name for name in table.source_filled if name not in optional]
    assert [column.alias for column in statement.selects][: len(mapping.columns)] == read
    found = statement.find(exp.Table)
    assert (found.catalog, found.db, found.name) == ("FLUX_DB", "PRODUCTION", table.source)
    assert (
        "AT (TIMESTAMP => CAST('2024-05-06T07:08:09.123456+00:00' AS TIMESTAMPTZ))" in found.sql("snowflake")
    ) is travel
    assert statement.args["order"] is not None
    assert (statement.args.get("where") is not None) is (table.row_filter is not None)


@each_table
def test_times_of_another_zone_are_converted(table):
    text = in_chicago(table).rows_query(ACCOUNT, INSTANT, travel=True)
    statement = parsed(text)
    assert len(list(statement.find_all(exp.ConvertTimezone))) >= 1
    assert "CONVERT_TIMEZONE('UTC', \"UPDATED_AT\")::TIMESTAMP_NTZ" in text
    assert ("CONVERT_TIMEZONE('America/Chicago', 'UTC', " in text) is any(
        declared_kind(table, name) == "TIMESTAMP_NTZ" for name in table.source_filled
    )


def test_the_cut_off_is_a_literal_and_comparable_columns_are_bare():
    """A function of the current time would keep the result cache from answering, one over the column would keep
    Snowflake from skipping partitions."""
    text = declared_mapping(FAULTS).rows_query(ACCOUNT, INSTANT, travel=True)
    cutoff = INSTANT - timedelta(days=7)
    assert f"\"BEGUN\" >= '{cutoff:%Y-%m-%d %H:%M:%S.%f}'::TIMESTAMP_NTZ" in text
    assert "CURRENT_TIMESTAMP" not in text
    assert "SYSDATE" not in text


def test_change_tokens_are_asked_in_one_statement():
    objects = [(table, ObjectName(name=table.source)) for table in dynamic_tables()]
    statement = parsed(render(tokens_template(objects), ACCOUNT))
    assert [column.alias for column in statement.selects] == [table.name for table in dynamic_tables()]
    assert [column.this.sql("snowflake") for column in statement.selects] == [
        f"SYSTEM$LAST_CHANGE_COMMIT_TIME('FLUX_DB.PRODUCTION.\"{table.source}\"')" for table in dynamic_tables()
    ]
    assert tokens_template(objects) in script(f"snowflake/{TOKENS}")


def test_existing_keys_and_probes_are_snowflake_s(monkeypatch):
    mapping = declared_mapping(FAULTS)
    statement = parsed(mapping.existing_query([("a",), ("it's \\",)], ACCOUNT, INSTANT, travel=True))
    assert [value.this for value in statement.find(exp.In).expressions] == ["a", "it's \\"]
    assert statement.find(exp.Table).args["when"] is not None
    asked = []

    def described(_: Session, statement: str, subject: Subject) -> tuple[FoundColumn]:
        asked.append(statement)
        return (FoundColumn(name="OTHER", kind="FIXED"),)

    monkeypatch.setattr(Session, "described", described)
    columns = {"columns": {"homes": {"expression": "X + 1"}}}
    overrides = Overrides(sources={"FAULTS": SourceOverride.model_validate(columns)})
    asker = Source(Session(ACCOUNT, connect_directly), overrides, RetryPolicy(), print)
    asker.ask_travel("A.B.C")
    with pytest.raises(SourceError, match="OTHER"):
        asker.mapping(FAULTS)
    assert len([parsed(text) for text in asked]) == 3


@each_file
def test_files_are_snowflake_s(name):
    text = render(script(f"snowflake/{name}"), **DEFINED)
    for statement in sqlglot.parse(text, read="snowflake", error_level=sqlglot.ErrorLevel.RAISE):
        assert statement is not None


# Quoting.


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("t", ("T",)),
        ('a.B."c d"', ("A", "B", "c d")),
        ('"say ""hi"""', ('say "hi"',)),
        (' a . "b.c" ', ("A", "b.c")),
        ("", None),
        ("a.", None),
        ("a..b", None),
        ("a b", None),
        ("a.b.c.d", None),
        ('"a', None),
    ],
)
def test_names_of_objects(text, found):
    assert ObjectName.parts(text) == found


def test_an_odd_name_is_quoted_where_it_stands_in_a_literal_too():
    name = ObjectName.of(FAULTS, '"o\'db"."s<%x%>"."back\\slash"')
    assert render(name.template) == name.sql(ACCOUNT) == '"o\'db"."s<%x%>"."back\\slash"'
    (value,) = parsed(f"SELECT {render(name.literal_template)}").selects
    assert value.this == name.sql(ACCOUNT)


def test_names_of_settings_are_read_as_snowflake_reads_them():
    names = ("flux_db", "FLUX_DB", '"flux"', "flux db", "1st")
    placed = [ObjectName(name="T").sql(replace(ACCOUNT, database=name, schema=name)) for name in names]
    assert placed == [f'{read}.{read}."T"' for read in ("FLUX_DB", "FLUX_DB", '"flux"', '"flux db"', '"1st"')]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("it's \\n", "'it''s \\\\n'"),
        (7, "7"),
        (1.5, "'1.5'::FLOAT"),
        (datetime(2024, 1, 2, 3, 4, 5, 6), "'2024-01-02 03:04:05.000006'::TIMESTAMP_NTZ"),
        (datetime(2024, 1, 2).date(), "'2024-01-02'::DATE"),
    ],
)
def test_literals(value, wanted):
    assert literal(value) == wanted


def test_the_digest_follows_what_is_read():
    mapping = declared_mapping(FAULTS)
    assert mapping.digest == declared_mapping(FAULTS).digest
    wider = replace(FAULTS, row_filter=replace(FAULTS.row_filter, window=timedelta(days=8)))
    assert declared_mapping(wider).digest != mapping.digest
    assert in_chicago(FAULTS).digest != mapping.digest


def test_snow_cli_runs_a_file_as_it_lies_there(source, tmp_path):
    """The whole command, of a person with a database and nothing else, against a real server."""
    sourced.tell(
        source,
        """CREATE TABLE CIRCUIT_METADATA (CIRCUIT_ID VARCHAR, CIRCUIT_NAME VARCHAR, SUBSTATION_ID VARCHAR,
                                         VOLTAGE_CLASS VARCHAR, STATUS VARCHAR, CUSTOMER_COUNT NUMBER(10,0));
           INSERT INTO CIRCUIT_METADATA VALUES ('C2', 'Oak', 'S1', '12 kV', NULL, 5);
           INSERT INTO CIRCUIT_METADATA VALUES ('C1', 'Elm', 'S1', '12 kV', 'OFF', 7)""",
    )
    settings = tmp_path / "config.toml"
    settings.write_text("[cli]\nair_gapped = true\n[cli.logs]\nsave_logs = false\n")
    settings.chmod(0o600)
    place = ["--account", source.account, "--user", source.user, "--host", str(source.host), "--port", str(source.port)]
    file = ["-f", str(FOLDER / "circuit_status_realtime.sql"), "-D", f"database={source.database}"]
    ran = subprocess.run(
        [str(SNOW_CLI.with_name("snow")), "sql", *file, "--temporary-connection", *place, "--protocol", "http",
         "--format", "json"],
        env={
            "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "SNOWFLAKE_HOME": str(tmp_path),
            "SNOWFLAKE_PASSWORD": "snow",
        },
        check=True, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert [list(row.values()) for row in json.loads(ran.stdout)] == [
        ["C1", "Elm", "S1", "12 kV", "OFF", 7, 2],
        ["C2", "Oak", "S1", "12 kV", "ENERGIZED", 5, 2],
    ]
