"""A database that others live in: their triggers, publications and search paths, and what is told when they refuse."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from flux_assets.errors import FluxError, LayerError, TargetError
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target, translated
from flux_assets.sample.cluster import OWNER, Cluster
from flux_assets_tests.conftest import Sql, fresh_database
from flux_assets_tests.made_layers import made_up
from flux_assets_tests.synced import Utility

pytestmark = pytest.mark.bare

SEED = """
INSERT INTO FEEDERS VALUES ('L1', 'one', 1);
INSERT INTO FAULTS SELECT 'F1', 'L1', 'OPEN', SYSDATE(), 1, -95, 29
"""
HISTORY = """
CREATE TABLE {schema}.history (changed_at timestamptz DEFAULT now(), fault_id text, before int, after int);
CREATE FUNCTION {schema}.note_homes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (fault_id, before, after) VALUES (new.fault_id, old.homes, new.homes);
    RETURN NULL;
END $$;
CREATE TRIGGER note_homes AFTER UPDATE ON {schema}.faults FOR EACH ROW
WHEN (old.homes IS DISTINCT FROM new.homes) EXECUTE FUNCTION {schema}.note_homes()
"""


@pytest.fixture
def running(utility: Utility) -> Utility:
    utility.tell(SEED)
    utility.synced()
    return utility


@pytest.fixture
def supabase_like(utility: Utility, cluster: Cluster) -> Iterator[Utility]:
    """The utility's tables in schema gis, PostGIS in extensions, and a search path that finds both."""
    with fresh_database(cluster, "template0") as name:
        with cluster.admin_session(name) as admin:
            admin.execute("CREATE SCHEMA extensions; CREATE EXTENSION postgis SCHEMA extensions")
            admin.execute(f"CREATE SCHEMA gis AUTHORIZATION {OWNER}; GRANT USAGE ON SCHEMA extensions TO PUBLIC")
            admin.execute(f"ALTER DATABASE {name} SET search_path = gis, extensions, public")
        utility.target = Target(conninfo=cluster.conninfo(name), schema="gis")
        utility.tell(SEED)
        utility.synced()
        yield utility


def told(target: Target, *statements: str) -> FluxError:
    def ask() -> None:
        with target.session("test") as session, translated(Layer(target.schema, made_up()).title, Stop()):
            for statement in statements:
                session.execute(statement)

    with pytest.raises(FluxError) as caught:
        ask()
    return caught.value


def test_a_trigger_finds_what_the_databases_search_path_finds(supabase_like: Utility) -> None:
    with psycopg.connect(supabase_like.target.conninfo, autocommit=True) as user:
        user.execute(HISTORY.format(schema="gis"))
        supabase_like.tell("UPDATE FAULTS SET HOMES = 5")
        supabase_like.synced()
        assert user.execute("SELECT fault_id, before, after FROM history").fetchall() == [("F1", 1, 5)]


@pytest.mark.parametrize(
    "path", ["''", "' '", '"$user"', 'nowhere, "Odd, name"', "pg_temp, pg_catalog", "public"], ids=lambda path: path
)
def test_names_of_ours_stay_ours_whatever_the_search_path(
    running: Utility, admin_sql: Sql, database: str, path: str, pytestconfig: pytest.Config
) -> None:
    admin_sql("CREATE TABLE public.pg_namespace (); CREATE TABLE public.incoming_faults ()")
    admin_sql(f"ALTER DATABASE {database} SET search_path = {path}")
    running.tell("UPDATE FAULTS SET HOMES = HOMES + 1")
    running.synced()
    with running.target.session("test") as session:
        (found,) = session.execute("SHOW search_path").fetchone() or ("",)
    assert found.startswith(f"pg_catalog, {pytestconfig.getoption('--postgis-schema')}, pg_temp")


def test_no_name_is_looked_for_where_anybody_may_create(
    running: Utility, admin_sql: Sql, database: str, pytestconfig: pytest.Config
) -> None:
    admin_sql("CREATE SCHEMA ours; CREATE SCHEMA everybodys; GRANT USAGE ON SCHEMA ours TO PUBLIC")
    admin_sql("GRANT ALL ON SCHEMA everybodys TO PUBLIC")
    admin_sql(f"ALTER DATABASE {database} SET search_path = everybodys, ours, public")
    with running.target.session("test") as session:
        (found,) = session.execute("SHOW search_path").fetchone() or ("",)
    assert found == f"pg_catalog, {pytestconfig.getoption('--postgis-schema')}, pg_temp, ours, public"


def test_a_trigger_that_does_not_find_its_table_is_named_with_its_line(running: Utility, sql: Sql) -> None:
    sql(HISTORY.format(schema="public").replace("INTO history", "INTO chronicle"))
    running.tell("UPDATE FAULTS SET HOMES = 5")
    said = running.failed("faults")["faults"]
    assert 'public.faults: PostgreSQL refused with 42P01: relation "chronicle" does not exist.' in said
    assert "PL/pgSQL function note_homes() line 3 at SQL statement" in said
    assert "ALTER FUNCTION … SET search_path" in said
    sql("DROP TRIGGER note_homes ON faults")
    running.synced()


def test_a_publication_without_replica_identity_is_told_in_postgresqls_words(
    running: Utility, admin_sql: Sql, sql: Sql
) -> None:
    admin_sql("CREATE PUBLICATION everything FOR ALL TABLES")
    sql("ALTER TABLE faults REPLICA IDENTITY NOTHING")
    running.tell("UPDATE FAULTS SET HOMES = 5")
    said = running.failed("faults")["faults"]
    assert "connection" not in said
    assert 'refused with 55000: cannot delete from table "faults"' in said
    assert "Hint: To enable deleting from the table, set REPLICA IDENTITY using ALTER TABLE." in said
    assert "run ALTER TABLE public.faults REPLICA IDENTITY DEFAULT" in said
    sql("ALTER TABLE faults REPLICA IDENTITY DEFAULT")
    running.synced()


# Every class that psycopg calls operational, and others; each raised by the server itself.
@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        ("53000", "function"), ("53300", "function"), ("54000", "function"), ("55000", "function"),
        ("55006", "function"), ("57000", "function"), ("58030", "function"), ("F0000", "function"),
        ("XX000", "function"), ("40001", "function"), ("23514", "function"), ("22023", "function"),
        ("P0001", "function"), ("FX999", "function"), ("38000", "function"), ("08001", "function"),
        ("57P01", "function"), ("3F000", "search_path"), ("42883", "search_path"),
    ],
)  # fmt: skip
def test_what_a_function_of_others_refuses_is_told_with_its_words(
    target: Target, sql: Sql, state: str, remedy: str
) -> None:
    sql(
        "CREATE FUNCTION judge() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today' USING ERRCODE = '"
        + state
        + "', DETAIL = 'It rains', HINT = 'Come back tomorrow'; END $$"
    )
    error = told(target, "SELECT judge()")
    assert isinstance(error, LayerError)
    assert f"public.poles: PostgreSQL refused with {state}: not today. It rains. Hint: Come back tomorrow. Where: " in (
        error.problem
    )
    assert "function judge() line 1 at RAISE" in error.problem
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("statement", "said", "remedy"),
    [
        ("DO $$ BEGIN RAISE 'x' USING ERRCODE = '58030'; END $$", "refused with 58030: x", "server's log"),
        ("DO $$ BEGIN RAISE 'x' USING ERRCODE = '40001'; END $$", "refused with 40001: x", "Run again"),
        ("DO $$ BEGIN RAISE 'x' USING ERRCODE = '53000'; END $$", "refused with 53000: x", "Raise the limit"),
        ("SELECT repeat('(', 100000)::jsonpath", "refused with", ""),
        ("SELECT nowhere", 'refused with 42703: column "nowhere" does not exist', "flux-assets doctor"),
    ],
    ids=["58030", "40001", "53000", "nested", "42703"],
)
def test_no_refusal_passes_for_a_lost_connection(target: Target, statement: str, said: str, remedy: str) -> None:
    error = told(target, statement)
    assert said in error.problem
    assert remedy in error.remedy
    assert "connection" not in str(error)


def test_what_the_driver_refuses_is_told_as_it_is(target: Target) -> None:
    def ask() -> None:
        with target.session("test") as session, translated(Layer("public", made_up()).title, Stop()):
            session.execute("SELECT %s", ["\0"])

    with pytest.raises(LayerError, match=r"public\.poles: PostgreSQL text fields cannot contain NUL"):
        ask()


def test_a_lost_connection_is_one(target: Target) -> None:
    def ask() -> None:
        with target.session("test") as session, translated(Layer("public", made_up()).title, Stop()):
            session.close()
            session.execute("SELECT 1")

    with pytest.raises(TargetError, match="connection to the database was lost"):
        ask()
