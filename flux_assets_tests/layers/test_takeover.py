"""Moving over from another loader: its table gives up its name at the swap, keeps its rows, and all comes along."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa

from flux_assets.doctor import layers
from flux_assets.errors import LayerError, PublishError
from flux_assets.layers.status import audit_live, table_statuses
from flux_assets.postgis.hanging import Hanging
from flux_assets.postgis.session import Target
from flux_assets_tests.conftest import Sql
from flux_assets_tests.hung_on import READING, counts, facts, hung_on
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, made_up, rows


@pytest.fixture
def loader(target: Target, tmp_path: Path, sql: Sql) -> Loader:
    """A loader that meets a plain table of the layer's name, with one row and a view on it."""
    sql("CREATE TABLE poles (id varchar(20) PRIMARY KEY, name text, secret text)")
    sql("INSERT INTO poles VALUES ('old', 'Old', 'x')")
    sql("CREATE VIEW names AS SELECT name FROM poles")
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


@pytest.fixture
def map_server(admin_sql: Sql) -> Iterator[str]:
    """A role of somebody else's, with a name that needs quotes; roles are the cluster's, which other tests use now."""
    role = f'"Map Server {uuid4().hex[:8]}"'
    admin_sql(f"CREATE ROLE {role}")
    yield role
    admin_sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_the_old_table_gives_way_with_all_its_rows(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(40), take_over=True)
    assert sql("SELECT count(*) FROM poles") == [(40,)]
    assert sql("SELECT * FROM poles_before_flux") == [("old", "Old", "x")]
    assert sql("SELECT count(*) FROM names") == [(40,)]
    log = "\n".join(loader.log)
    assert "becomes poles_before_flux" in log
    assert "view names reads the new table" in log
    assert "column secret stays with poles_before_flux" in log
    assert loader.load(made_up(), rows(41)).outcome == "published"
    assert sql("SELECT count(*) FROM names") == [(41,)]
    assert sql("SELECT count(*) FROM poles") == [(41,)]


def test_grants_are_repeated(loader: Loader, sql: Sql, map_server: str) -> None:
    sql(f"GRANT SELECT, UPDATE ON poles TO {map_server} WITH GRANT OPTION")
    sql("GRANT SELECT (name, secret) ON poles TO PUBLIC")
    loader.load(made_up(), rows(40), take_over=True)
    name = map_server.strip('"')
    may = f"SELECT has_table_privilege('{name}', 'poles', '{{}}')"
    assert [sql(may.format(right)) for right in ("SELECT", "UPDATE WITH GRANT OPTION", "DELETE")] == [
        [(True,)],
        [(True,)],
        [(False,)],
    ]
    column = "SELECT has_column_privilege('pg_monitor', 'poles', '{}', 'SELECT')"
    assert [sql(column.format(name)) for name in ("name", "code")] == [[(True,)], [(False,)]]


def test_a_reader_never_finds_nothing(loader: Loader, sql: Sql, target: Target) -> None:
    """The old rows are there until the new ones are: a transaction that reads the old table delays the swap."""
    with psycopg.connect(target.conninfo) as reader, psycopg.connect(target.conninfo, autocommit=True) as newcomer:
        reader.execute("SELECT count(*) FROM poles")
        seen: list[object] = []

        class Log(list[str]):
            def append(self, line: str) -> None:
                super().append(line)
                if line.startswith("publishing public.poles waits for") and not seen:
                    seen.append(newcomer.execute("SELECT count(*) FROM poles").fetchone())
                    reader.rollback()

        loader.log = Log()
        loader.load(made_up(), rows(40), take_over=True)
        assert seen == [(1,)]
        assert newcomer.execute("SELECT count(*) FROM poles").fetchone() == (40,)


def test_who_reads_what_hangs_on_the_table_is_named_when_the_swap_waits(
    loader: Loader, sql: Sql, target: Target
) -> None:
    sql("CREATE TABLE lamps (pole text); CREATE POLICY lit ON lamps USING (pole IN (SELECT id FROM poles))")
    sql("CREATE MATERIALIZED VIEW tally AS SELECT count(*) FROM poles")
    for name in ("lamps", "tally", "names"):
        with psycopg.connect(target.conninfo, application_name=f"reads {name}") as reader:
            reader.execute(f"SELECT FROM {name}")
            with pytest.raises(PublishError, match=f"reads {name}"):
                loader.load(made_up(), rows(40), take_over=True, publish_wait=timedelta(seconds=1))
    loader.load(made_up(), rows(40), take_over=True)


def test_a_failed_load_leaves_the_old_table_where_it_is(loader: Loader, sql: Sql) -> None:
    with pytest.raises(LayerError, match="no rows"):
        loader.load(made_up(), [], take_over=True)
    assert sql("SELECT * FROM poles") == [("old", "Old", "x")]


def test_a_taken_name_makes_another(loader: Loader, sql: Sql) -> None:
    sql("CREATE TABLE poles_before_flux (); CREATE VIEW poles_before_flux_2 AS SELECT 1")
    loader.load(made_up(), rows(40), take_over=True)
    assert sql("SELECT id FROM poles_before_flux_3") == [("old",)]


def test_foreign_keys_that_point_at_it_are_dropped_on_request_and_checked_from_then_on(
    loader: Loader, sql: Sql, target: Target
) -> None:
    sql("CREATE TABLE lamps (pole varchar(20) CONSTRAINT of_pole REFERENCES poles) PARTITION BY LIST (pole)")
    sql("CREATE TABLE all_lamps PARTITION OF lamps DEFAULT; INSERT INTO lamps VALUES ('old'), (NULL)")
    with pytest.raises(LayerError, match=r"of_pole of lamps stands in the way.*--drop-foreign-keys"):
        loader.load(made_up(), rows(40), take_over=True)
    assert sql("SELECT count(*) FROM postgres_sync.layer_versions") == [(0,)]
    loader.load(made_up(), rows(40), take_over=True, drop_foreign_keys=True)
    with target.session("doctor") as session:
        said = [finding.message for finding in layers.findings(session, "public", [made_up()])]
    assert any("1 row of public.lamps lead to no row of public.poles" in each for each in said), said
    loader.load(made_up(), rows(41))
    (check,) = audit_live(made_up(), target, {"dropped_keys"})
    assert (check.passed, check.severity, check.numbers) == (
        False,
        "WARN",
        {"dropped_keys": 1, "offending_rows": 1, "of_pole of public.lamps": 1},
    )
    assert check.sample[0].endswith("would have refused: pole old")
    assert sql(check.sql) == [("old",)]
    (status,) = table_statuses(target, [made_up()])
    assert (status.trusted, status.detail) == (
        True,
        "1 row of public.lamps lead nowhere, which the dropped foreign key of_pole would have refused",
    )
    sql("DELETE FROM lamps WHERE pole = 'old'; INSERT INTO lamps VALUES ('000040')")
    (check,) = audit_live(made_up(), target, {"dropped_keys"})
    assert (check.passed, table_statuses(target, [made_up()])[0].detail) == (True, "")


@pytest.mark.parametrize("over", ["DROP TABLE lamps", "ALTER TABLE lamps ADD CONSTRAINT of_pole CHECK (true)"])
def test_a_dropped_key_that_is_over_is_checked_no_more(loader: Loader, sql: Sql, target: Target, over: str) -> None:
    sql("CREATE TABLE lamps (pole varchar(20) CONSTRAINT of_pole REFERENCES poles); INSERT INTO lamps VALUES ('old')")
    loader.load(made_up(), rows(40), take_over=True, drop_foreign_keys=True)
    assert not audit_live(made_up(), target, {"dropped_keys"})[0].passed
    sql(over)
    (check,) = audit_live(made_up(), target, {"dropped_keys"})
    assert (check.passed, table_statuses(target, [made_up()])[0].detail) == (True, "")


def test_what_other_schemas_hold_is_named_with_them_and_comes_along(loader: Loader, sql: Sql) -> None:
    sql("CREATE SCHEMA app; CREATE TABLE app.lamps (pole varchar(20) CONSTRAINT of_pole REFERENCES poles)")
    sql("CREATE MATERIALIZED VIEW app.tally AS SELECT count(*) AS poles FROM poles")
    with pytest.raises(LayerError, match=r"of_pole of app\.lamps stands in the way"):
        loader.load(made_up(), rows(40), take_over=True)
    loader.load(made_up(), rows(40), take_over=True, drop_foreign_keys=True)
    assert sql("SELECT poles FROM app.tally") == [(40,)]
    assert sql("SELECT referring FROM postgres_sync.dropped_keys") == [("app.lamps",)]
    assert "materialized view app.tally is filled from the new rows" in "\n".join(loader.log)


def test_a_materialized_view_of_another_stands_in_the_way_once(
    loader: Loader, sql: Sql, admin_sql: Sql, map_server: str
) -> None:
    sql("CREATE MATERIALIZED VIEW tally AS SELECT count(*) AS poles FROM poles")
    admin_sql(f"ALTER MATERIALIZED VIEW tally OWNER TO {map_server}")
    with pytest.raises(LayerError) as refused:
        loader.load(made_up(), rows(40), take_over=True)
    assert refused.value.problem.count("tally") == 1
    assert "materialized view tally stands in the way" in refused.value.problem
    assert f"(GRANT {map_server} TO " in refused.value.problem


def test_a_materialized_view_is_refreshed_by_every_publish(loader: Loader, sql: Sql) -> None:
    sql("CREATE MATERIALIZED VIEW tally AS SELECT count(*) AS poles FROM names")
    sql("CREATE UNIQUE INDEX ON tally (poles)")
    for count in (40, 41):
        loader.load(made_up(), rows(count), take_over=True)
        assert sql("SELECT poles FROM tally") == [(count,)]
    assert "materialized view public.tally is refreshed" in loader.log


def test_a_table_as_shp2pgsql_makes_it(loader: Loader, sql: Sql) -> None:
    sql("DROP TABLE poles CASCADE; CREATE TABLE poles (gid serial PRIMARY KEY, id varchar(20), code serial)")
    loader.load(made_up(), rows(40), take_over=True)
    assert "sequence poles_gid_seq stays with poles_before_flux" in "\n".join(loader.log)
    assert sql("SELECT pg_get_serial_sequence('poles', 'code')") == [("public.poles_code_seq",)]
    assert sql("SELECT pg_get_serial_sequence('poles_before_flux', 'gid')") == [("public.poles_gid_seq",)]


def test_comments_that_are_lost_are_told_and_no_others(loader: Loader, sql: Sql) -> None:
    sql("COMMENT ON COLUMN poles.id IS 'Identifier.'; COMMENT ON COLUMN poles.name IS 'What''s it called?'")
    loader.load(made_up(), rows(40), take_over=True)
    log = "\n".join(loader.log)
    assert "comment of column name stays with poles_before_flux: the declaration's takes its place" in log
    assert "comment of column id is declared too" in log


def test_a_declared_index_is_known_wherever_postgis_is_installed() -> None:
    declared = made_up(
        parts=[*columns(), sa.Index("poles_on_earth", sa.text("(geom)::geography"), postgresql_using="gist")]
    )
    for schema in ("", "extensions."):
        stands = Hanging.Part("index", "i", "made", "CREATE …", "", f"falsegist (((geom)::{schema}geography))")
        assert stands.beside(declared).phase == "declared"


def test_what_is_no_plain_table_is_not_taken_over(loader: Loader, sql: Sql) -> None:
    sql("ALTER TABLE poles RENAME TO other")
    sql("CREATE VIEW poles AS SELECT * FROM other")
    with pytest.raises(LayerError, match=r"public.poles is a view"):
        loader.load(made_up(), rows(40), take_over=True)


@pytest.fixture
def hung(target: Target, tmp_path: Path, sql: Sql, admin_sql: Sql) -> Iterator[Loader]:
    """A loader that meets a plain table of another owner on which hangs whatever can."""
    with hung_on(sql, admin_sql):
        yield Loader(target, ReleaseFolder(tmp_path / "v1"))


def test_all_that_hangs_on_the_table_comes_along(hung: Loader, sql: Sql) -> None:
    before = facts(sql)
    hung.load(made_up(), rows(40), take_over=True)
    assert facts(sql) == before
    assert counts(sql) == dict.fromkeys(READING, 40)
    assert sql("SELECT id FROM poles_before_flux") == [("old",)]
    assert sql("SELECT to_regclass('flux_versions.poles')") == [(None,)]
    hung.load(made_up(), rows(41))
    assert facts(sql) == before
    assert counts(sql) == dict.fromkeys(READING, 41)


@pytest.mark.parametrize(
    ("done", "said"),
    [
        ("CREATE TABLE lamps (like_it poles)", "its values are rows"),
        ("CREATE DOMAIN one AS text CHECK (public.noted(NULL::poles))", "dependent constraint one_check"),
        (
            "ALTER TABLE lamps ALTER pole SET DEFAULT public.noted(NULL::poles)",
            "default value for column pole of table",
        ),
        ("CREATE INDEX of_lamps ON lamps (public.noted(NULL::poles))", "dependent index of_lamps"),
        ("CREATE AGGREGATE last_of(poles) (sfunc = last_one, stype = poles)", "dependent function last_of"),
        (
            "CREATE CONSTRAINT TRIGGER turned AFTER INSERT ON lamps FROM poles FOR EACH ROW EXECUTE FUNCTION turn()",
            "dependent trigger turned on table lamps",
        ),
        ("CREATE SCHEMA s; CREATE MATERIALIZED VIEW s.poles AS SELECT id FROM poles", "same name in another schema"),
        (
            "CREATE FUNCTION named(poles) RETURNS text LANGUAGE sql AS 'SELECT $1.name';"
            " CREATE VIEW asked AS SELECT named(poles) FROM poles",
            "view asked depends on",
        ),
    ],
)
def test_what_cannot_come_along_is_told_with_what_it_is_part_of(done: str, said: str, loader: Loader, sql: Sql) -> None:
    sql("CREATE TABLE lamps (pole text)")
    sql("CREATE FUNCTION noted(anyelement) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true'")
    sql("CREATE FUNCTION last_one(anyelement, anyelement) RETURNS anyelement LANGUAGE sql AS 'SELECT $2'")
    sql("CREATE FUNCTION turn() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'")
    sql(done.replace("TABLE lamps (", "TABLE others ("))
    with pytest.raises(LayerError, match=said):
        loader.load(made_up(), rows(40), take_over=True)
    assert sql("SELECT count(*) FROM postgres_sync.layer_versions") == [(0,)]


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
def test_a_view_where_nothing_may_be_created_is_told_before_anything_is_loaded(
    kind: str, loader: Loader, sql: Sql, admin_sql: Sql
) -> None:
    sql(f"CREATE SCHEMA reports; CREATE {kind} reports.tally AS SELECT count(*) FROM poles")
    admin_sql("ALTER SCHEMA reports OWNER TO CURRENT_USER; GRANT USAGE ON SCHEMA reports TO PUBLIC")
    with pytest.raises(
        LayerError, match=r"may not create in schema reports \(GRANT CREATE ON SCHEMA reports TO flux\)"
    ):
        loader.load(made_up(), rows(40), take_over=True)
    assert sql("SELECT count(*) FROM postgres_sync.layer_versions") == [(0,)]


def test_a_materialized_view_whose_owner_may_not_create_is_told(
    loader: Loader, sql: Sql, admin_sql: Sql, map_server: str
) -> None:
    sql("CREATE SCHEMA reports; CREATE MATERIALIZED VIEW reports.tally AS SELECT count(*) FROM poles")
    admin_sql(f"GRANT {map_server} TO flux; ALTER MATERIALIZED VIEW reports.tally OWNER TO {map_server}")
    with pytest.raises(LayerError, match="its owner may not create in schema reports"):
        loader.load(made_up(), rows(40), take_over=True)


def test_a_check_that_old_rows_break_holds_for_the_new_ones_from_the_start(loader: Loader, sql: Sql) -> None:
    sql("ALTER TABLE poles ADD CONSTRAINT short CHECK (length(name) < 3) NOT VALID")
    with pytest.raises(LayerError, match='check constraint "short"'):
        loader.load(made_up(), rows(40), take_over=True)


def test_an_index_with_words_of_its_own_syntax_and_settings_of_columns(loader: Loader, sql: Sql) -> None:
    sql("""CREATE INDEX "a USING b" ON poles (name) WHERE name <> ' USING '""")
    sql("ALTER TABLE poles ALTER name SET STATISTICS 7")
    loader.load(made_up(), rows(40), take_over=True)
    assert sql("SELECT count(*) FROM pg_indexes WHERE tablename = 'poles' AND indexdef ~ ' USING .* USING '") == [(1,)]
    assert "of column name (STATISTICS 7) stays with poles_before_flux" in "\n".join(loader.log)


def test_a_user_whose_name_needs_quotes_may_adopt(
    loader: Loader, sql: Sql, admin_sql: Sql, map_server: str, target: Target
) -> None:
    admin_sql(f"ALTER TABLE poles OWNER TO {map_server}; GRANT {map_server} TO flux")
    ((oid,),) = sql("SELECT 'poles'::regclass::oid")
    with psycopg.connect(target.conninfo) as connection:
        connection.execute(f"SET ROLE {map_server}")
        assert "owner" not in {part.kind for part in Hanging.on(connection, oid, "public", "_old").parts}
    admin_sql("DROP TABLE poles CASCADE")
