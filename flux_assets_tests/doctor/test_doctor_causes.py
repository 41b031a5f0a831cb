"""Doctor finds what failures of load and sync send people to it for: each cause is made, met, found, cured as told."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flux_assets.doctor.examination import examine
from flux_assets.doctor.finding import Finding
from flux_assets.errors import FluxError, TargetError
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import translated
from flux_assets.sample.cluster import OWNER
from flux_assets.settings import load_settings
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.synced import FAULTS, FEEDERS, Utility

pytestmark = pytest.mark.bare

POLES = made_up()
SEED = """
INSERT INTO FEEDERS VALUES ('L1', 'one', 1);
INSERT INTO FAULTS SELECT 'F1', 'L1', 'OPEN', SYSDATE(), 1, -95, 29
"""
# Roles are those of the whole server, which several processes share.
BOSS = f"boss_{os.getpid()}"


@dataclass(frozen=True)
class Cause:
    """How a superuser makes a cause, who meets it, what doctor says of it; a cure where doctor's is in words."""

    made: str
    meets: str
    said: str
    cure: str = ""


VERSION = "(SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'poles'::regclass)"
ON_VERSION = "DO $$ BEGIN EXECUTE format('{}', " + VERSION + "); END $$"
REPLACED = f"ALTER TABLE poles RENAME TO old; CREATE TABLE poles (id text); ALTER TABLE poles OWNER TO {BOSS}"
CAUSES = {
    "a plain table of another": Cause(REPLACED, "take over", f"public.poles belongs to {BOSS}"),
    "a view of another": Cause(
        f"ALTER TABLE poles RENAME TO old; CREATE VIEW poles AS SELECT 1; ALTER VIEW poles OWNER TO {BOSS}",
        "load", f"public.poles belongs to {BOSS}",
    ),
    "a layer of another": Cause(f"ALTER TABLE poles OWNER TO {BOSS}", "load", f"public.poles belongs to {BOSS}"),
    "a version of another": Cause(
        ON_VERSION.format(f"ALTER TABLE %s OWNER TO {BOSS}"), "load", f"belongs to {BOSS}",
    ),
    "no making in the schema": Cause(
        f"ALTER DATABASE {{database}} OWNER TO {BOSS}; ALTER SCHEMA public OWNER TO {BOSS};"
        f" REVOKE CREATE ON SCHEMA public FROM {OWNER}, PUBLIC; DROP TABLE poles",
        "load", "may not create tables in schema public",
    ),
    "no making of versions": Cause(
        f"ALTER SCHEMA flux_versions OWNER TO {BOSS}; GRANT USAGE ON SCHEMA flux_versions TO {OWNER}",
        "load", "a table could not be created and dropped in schema flux_versions",
    ),
    "no use of versions": Cause(
        f"ALTER SCHEMA flux_versions OWNER TO {BOSS}", "load",
        "a table could not be created and dropped in schema flux_versions",
    ),
    "no use of the ledger": Cause(
        f"ALTER SCHEMA postgres_sync OWNER TO {BOSS}; REVOKE ALL ON SCHEMA postgres_sync FROM flux_reader",
        "load", "may not use schema postgres_sync",
    ),
    "a ledger table of another": Cause(
        f"ALTER TABLE postgres_sync.layer_versions OWNER TO {BOSS}", "load",
        f"postgres_sync.layer_versions belongs to {BOSS}",
    ),
    "no writing in the ledger": Cause(
        f"REVOKE INSERT, UPDATE ON postgres_sync.sync_status FROM {OWNER}", "load",
        "may not INSERT, UPDATE on postgres_sync.sync_status",
    ),
    "no reading of the register": Cause(
        f"REVOKE ALL ON postgres_sync.layer_versions FROM {OWNER}", "load",
        "may not DELETE, INSERT, SELECT, UPDATE on postgres_sync.layer_versions",
    ),
    "no calling in the ledger": Cause(
        f"REVOKE ALL ON FUNCTION postgres_sync.hold_lease FROM {OWNER}, PUBLIC", "load",
        "may not call postgres_sync.hold_lease",
    ),
    "a ledger table that is gone": Cause(
        "DROP TABLE postgres_sync.layer_pins CASCADE", "load", "schema postgres_sync lacks layer_pins",
        "COMMENT ON SCHEMA postgres_sync IS NULL",
    ),
    "a ledger column that is gone": Cause(
        "ALTER TABLE postgres_sync.layer_versions DROP COLUMN audits", "load",
        "schema postgres_sync lacks layer_versions.audits",
        "ALTER TABLE postgres_sync.layer_versions ADD COLUMN audits jsonb",
    ),
    "a ledger function that is gone": Cause(
        "DROP FUNCTION postgres_sync.hold_lease", "load", "schema postgres_sync lacks hold_lease",
        "COMMENT ON SCHEMA postgres_sync IS NULL",
    ),
    "versions that are gone": Cause(
        "DROP SCHEMA flux_versions CASCADE", "load", "schema flux_versions is missing",
        "COMMENT ON SCHEMA postgres_sync IS NULL",
    ),
    "no temporary tables": Cause(
        f"ALTER DATABASE {{database}} OWNER TO {BOSS}; REVOKE TEMPORARY ON DATABASE {{database}} FROM {OWNER}, PUBLIC",
        "sync", "may not create temporary tables",
    ),
    "a read-only role": Cause(
        f"ALTER ROLE {OWNER} IN DATABASE {{database}} SET default_transaction_read_only = on", "load",
        "Sessions in the target database are read-only",
    ),
    "a read-only database": Cause(
        "ALTER DATABASE {database} SET default_transaction_read_only = on", "sync",
        "Sessions in the target database are read-only",
    ),
    "no use of PostGIS": Cause(
        f"REVOKE EXECUTE ON FUNCTION st_makepoint(float8, float8) FROM {OWNER}, PUBLIC", "sync",
        "PostGIS cannot be used by", f"GRANT EXECUTE ON FUNCTION st_makepoint(float8, float8) TO {OWNER}",
    ),
    "an event trigger that refuses tables": Cause(
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'no tables on Sundays'; END $$;"
        " CREATE EVENT TRIGGER refuse ON ddl_command_end WHEN tag IN ('CREATE TABLE') EXECUTE FUNCTION refuse()",
        "load", "in schema flux_versions: no tables on Sundays", "DROP EVENT TRIGGER refuse",
    ),
    "no keys to a table of another": Cause(
        f"CREATE TABLE lamps (id varchar(20) PRIMARY KEY); ALTER TABLE lamps OWNER TO {BOSS};"
        " ALTER TABLE poles ADD CONSTRAINT lit FOREIGN KEY (parent_id) REFERENCES lamps; "
        f"REVOKE ALL ON lamps FROM {OWNER}, PUBLIC", "load", "lacks REFERENCES on table lamps, which poles uses",
    ),
    "no calling of a check's function": Cause(
        "CREATE FUNCTION sane(integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';"
        " ALTER TABLE poles ADD CONSTRAINT sane CHECK (sane(code)); REVOKE ALL ON FUNCTION sane FROM PUBLIC",
        "load", "lacks EXECUTE on function sane(integer), which poles uses",
    ),
    "no calling of an index's function": Cause(
        "CREATE FUNCTION folded(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN lower($1); END';"
        " CREATE INDEX ON poles (folded(name)); REVOKE ALL ON FUNCTION folded FROM PUBLIC",
        "load", "lacks EXECUTE on function folded(text), which poles uses",
    ),
    "no use of a sequence": Cause(
        f"CREATE SEQUENCE numbers; ALTER SEQUENCE numbers OWNER TO {BOSS};"
        " ALTER TABLE faults ADD number int DEFAULT nextval('numbers')", "insert",
        "lacks USAGE on sequence numbers, which faults uses",
    ),
    "no use of a type": Cause(
        f"CREATE DOMAIN short AS text; ALTER DOMAIN short OWNER TO {BOSS};"
        " ALTER TABLE poles ADD brief short GENERATED ALWAYS AS (left(name, 3)) STORED;"
        f" REVOKE ALL ON DOMAIN short FROM {OWNER}, PUBLIC", "none", "lacks USAGE on type short, which poles uses",
    ),
    "no reading of what columns are computed from": Cause(
        f"CREATE TABLE assets (feeder text, load float8); ALTER TABLE assets OWNER TO {BOSS};"
        f" REVOKE ALL ON assets FROM {OWNER}, flux_reader", "sync",
        f"may not read public.assets of {BOSS}, which columns of feeders are computed from",
    ),
    "hidden rows in what columns are computed from": Cause(
        f"CREATE TABLE assets (feeder text, load float8); ALTER TABLE assets OWNER TO {OWNER};"
        " ALTER TABLE assets ENABLE ROW LEVEL SECURITY; ALTER TABLE assets FORCE ROW LEVEL SECURITY", "sync",
        "public.assets has row-level security that holds", "ALTER TABLE public.assets NO FORCE ROW LEVEL SECURITY",
    ),
    "hidden rows in a synced table": Cause(
        "ALTER TABLE faults ENABLE ROW LEVEL SECURITY; ALTER TABLE faults FORCE ROW LEVEL SECURITY", "sync",
        "public.faults has row-level security that holds", "ALTER TABLE public.faults NO FORCE ROW LEVEL SECURITY",
    ),
    "hidden rows in a layer": Cause(
        "ALTER TABLE poles ENABLE ROW LEVEL SECURITY; ALTER TABLE poles FORCE ROW LEVEL SECURITY", "load",
        "public.poles has row-level security that holds", "ALTER TABLE public.poles NO FORCE ROW LEVEL SECURITY",
    ),
    "no writing of a synced table": Cause(
        f"ALTER TABLE faults OWNER TO {BOSS}; REVOKE ALL ON faults FROM {OWNER}; GRANT SELECT ON faults TO {OWNER}",
        "insert", "may not INSERT, UPDATE, DELETE on public.faults",
    ),
    "no reading of a synced table": Cause(
        f"REVOKE ALL ON faults FROM {OWNER}, flux_reader", "sync",
        "may not SELECT, INSERT, UPDATE, DELETE on public.faults",
    ),
    "a synced table of another that lacks a column": Cause(
        f"ALTER TABLE faults DROP COLUMN homes; ALTER TABLE faults OWNER TO {BOSS}; GRANT ALL ON faults TO {OWNER}",
        "sync", f"public.faults belongs to {BOSS}, and only its owner can add the missing columns",
    ),
    "a synced table of another that lacks an index": Cause(
        f"DROP INDEX faults_geom_idx; ALTER TABLE faults OWNER TO {BOSS}; GRANT ALL ON faults TO {OWNER}",
        "sync", f"public.faults belongs to {BOSS}, and only its owner can add the missing columns and indexes",
    ),
    "a ledger whose rows are hidden": Cause(
        "ALTER TABLE postgres_sync.layer_versions ENABLE ROW LEVEL SECURITY;"
        " ALTER TABLE postgres_sync.layer_versions FORCE ROW LEVEL SECURITY", "load",
        "postgres_sync.layer_versions has row-level security that holds",
        "ALTER TABLE postgres_sync.layer_versions NO FORCE ROW LEVEL SECURITY",
    ),
    "no reading of a version": Cause(
        ON_VERSION.format(f"REVOKE ALL ON %s FROM {OWNER}"), "load", "may not read or fill",
        ON_VERSION.format(f"GRANT ALL ON %s TO {OWNER}"),
    ),
}  # fmt: skip


@pytest.fixture
def boss(admin_sql: Sql) -> Iterator[str]:
    """Another owner, of whom the loader is no member."""
    admin_sql(f"CREATE ROLE {BOSS}")
    yield BOSS
    admin_sql(f"REASSIGN OWNED BY {BOSS} TO CURRENT_USER; DROP OWNED BY {BOSS}")
    admin_sql(f"DROP ROLE {BOSS}")


@pytest.fixture
def loader(reached: Utility, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    """A database with a published layer and synced tables, and settings that lead to it."""
    loader = Loader(reached.target, ReleaseFolder(tmp_path / "v1"))
    loader.load(POLES, rows(5))
    reached.tell(SEED)
    reached.synced()
    monkeypatch.setenv("FLUX_RELEASE", str(tmp_path / "v1"))
    load_settings.cache_clear()
    return loader


def failed() -> list[Finding]:
    return [finding for finding in examine([POLES, FAULTS, FEEDERS]) if finding.outcome == "failed"]


def met(cause: Cause, loader: Loader, utility: Utility) -> str:
    """What the load or the sync says."""
    try:
        if cause.meets in {"load", "take over"}:
            loader.load(POLES, rows(6), take_over=cause.meets == "take over")
        elif cause.meets in {"sync", "insert"}:
            if cause.meets == "insert":
                utility.tell("INSERT INTO FAULTS SELECT 'F2', 'L1', 'OPEN', SYSDATE(), 1, -95, 29")
            return " ".join(utility.failed(force=True).values())
    except FluxError as error:
        return str(error)
    return ""


@pytest.mark.usefixtures("boss")
@pytest.mark.parametrize("cause", CAUSES.values(), ids=CAUSES)
def test_doctor_finds_the_cause_and_its_cure_helps(
    loader: Loader, reached: Utility, admin_sql: Sql, database: str, cause: Cause
) -> None:
    admin_sql(cause.made.replace("{database}", database))
    error = met(cause, loader, reached)
    assert error or cause.meets == "none"
    found = [finding for finding in failed() if cause.said in finding.message]
    assert found, (error, [finding.message for finding in failed()])
    cure = cause.cure or re.search(r"Run ((?:GRANT|ALTER).*?)(?: as |, or |; |\.$)", found[0].remedy)[1]
    admin_sql(cure)
    assert not [finding for finding in failed() if cause.said in finding.message]


@pytest.mark.usefixtures("loader")
def test_doctor_finds_nothing_where_there_is_no_cause() -> None:
    assert failed() == []


def test_what_a_function_of_a_trigger_may_not_do_is_not_sent_to_doctor(loader: Loader, sql: Sql) -> None:
    sql("CREATE FUNCTION judge() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_read_file('PG_VERSION'); END $$")

    def ask() -> None:
        with loader.target.session("test") as session, translated(Layer("public", POLES).title, Stop()):
            session.execute("SELECT judge()")

    with pytest.raises(TargetError, match=r"lacks a right.*function judge") as caught:
        ask()
    assert "SECURITY DEFINER" in caught.value.remedy
    assert "doctor" not in caught.value.remedy


@pytest.mark.parametrize(
    "statement",
    ["SELECT 1/0", "SELECT 'x'::int", "SELECT 1 FROM generate_series(1, 2) HAVING 1 = (SELECT unnest(ARRAY[1, 2]))"],
)
def test_what_doctor_cannot_know_is_not_sent_to_it(loader: Loader, statement: str) -> None:
    def ask() -> None:
        with loader.target.session("test") as session, translated(Layer("public", POLES).title, Stop()):
            session.execute(statement)

    with pytest.raises(FluxError) as caught:
        ask()
    assert "doctor" not in str(caught.value)
