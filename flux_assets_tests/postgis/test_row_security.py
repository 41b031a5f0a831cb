"""Row-level security of others: never lost with a table that gives way, and never taken for rows that are gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg import errors

from flux_assets.errors import FluxError, LayerError
from flux_assets.layers.status import audit_live
from flux_assets.postgis.session import Target
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.synced import Utility

pytestmark = pytest.mark.bare

POLES = made_up()
SEED = (
    "INSERT INTO FEEDERS VALUES ('L1', 'one', 1); INSERT INTO FAULTS SELECT 'F1', 'L1', 'OPEN', SYSDATE(), 1, -95, 29"
)
PLAIN = """
CREATE TABLE poles (id varchar(20) PRIMARY KEY, name text);
INSERT INTO poles VALUES ('mine', 'a'), ('yours', 'b');
GRANT SELECT ON poles TO flux_reader
"""
POLICY = 'CREATE POLICY "Only Mine" ON {} TO flux_reader USING ({})'
ENABLED = "ALTER TABLE {} ENABLE ROW LEVEL SECURITY"


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    folder = ReleaseFolder(tmp_path / "v1")
    folder.write(POLES, rows(5))
    return Loader(target, folder)


@pytest.fixture
def running(utility: Utility) -> Utility:
    utility.tell(SEED)
    utility.synced()
    return utility


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (
            [ENABLED.format("poles"), POLICY.format("poles", "id = 'mine'")],
            'row-level security and the policy "Only Mine"',
        ),
        ([ENABLED.format("poles")], "row-level security"),
        (["ALTER TABLE poles FORCE ROW LEVEL SECURITY"], "FORCE ROW LEVEL SECURITY"),
        ([POLICY.format("poles", "true"), "CREATE POLICY q ON poles"], 'the policies "Only Mine", q'),
    ],
    ids=["enabled", "without policies", "forced", "policies alone"],
)  # fmt: skip
def test_a_table_that_was_renamed_by_hand_keeps_its_rows_from_strangers(
    loader: Loader, sql: Sql, statements: list[str], said: str
) -> None:
    sql(PLAIN)
    for statement in statements:
        sql(statement)
    sql("ALTER TABLE poles RENAME TO poles_before_flux")
    with pytest.raises(LayerError, match=r"which the new table public\.poles would not have") as caught:
        loader.load(POLES, take_over=True)
    old = "public.poles_before_flux"
    assert f"{old} has {said}, which" in caught.value.problem
    assert sql("SELECT count(*) FROM postgres_sync.layer_versions") == [(0,)]
    cure = caught.value.remedy.split(", run ")[1].split("; and run this again")[0]
    sql(f"REVOKE ALL ON {old} FROM flux_reader; {cure}")
    loader.load(POLES, take_over=True)
    assert sql("SELECT count(*) FROM poles") == [(5,)]


def test_security_labels_are_kept_from_being_lost(loader: Loader, sql: Sql, admin_sql: Sql) -> None:
    """No provider of labels is part of PostGIS's packages: the label is written as one would write it."""
    sql(PLAIN)
    admin_sql("SET allow_system_table_mods = on")
    admin_sql(
        "INSERT INTO pg_seclabel VALUES ('poles'::regclass, 'pg_class'::regclass, 2, 'anon', 'MASKED WITH VALUE NULL')"
    )
    with pytest.raises(LayerError, match="security label anon stands in the way"):
        loader.load(POLES, take_over=True)


def test_policies_of_a_table_that_is_taken_over_hold_for_the_new_one(loader: Loader, sql: Sql, reader_sql: Sql) -> None:
    sql(PLAIN)
    sql(ENABLED.format("poles"))
    sql(POLICY.format("poles", "id = '000001'"))
    loader.load(POLES, take_over=True)
    assert reader_sql("SELECT id FROM poles") == [("000001",)]
    assert sql("SELECT count(*) FROM poles") == [(5,)]


def test_a_table_whose_policies_hold_for_the_loader_is_not_taken_over(loader: Loader, sql: Sql, admin_sql: Sql) -> None:
    sql(PLAIN)
    sql(ENABLED.format("poles"))
    sql("ALTER TABLE poles FORCE ROW LEVEL SECURITY")
    with pytest.raises(LayerError, match=r"FORCE ROW LEVEL SECURITY stands in the way.*BYPASSRLS"):
        loader.load(POLES, take_over=True)
    assert sql("SELECT count(*) FROM postgres_sync.layer_versions") == [(0,)]


def test_policies_that_come_while_a_load_stages_are_not_lost(loader: Loader, sql: Sql) -> None:
    class Log(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if "is a plain table: at the swap" in line:
                sql(ENABLED.format("poles"))

    sql(PLAIN)
    loader.log = Log()
    with pytest.raises(LayerError, match="somebody changed what hangs on the table"):
        loader.load(POLES, take_over=True)
    assert sql("SELECT id FROM poles ORDER BY 1") == [("mine",), ("yours",)]
    loader.log = []
    loader.load(POLES, take_over=True)
    assert sql("SELECT relrowsecurity FROM pg_class WHERE oid = 'poles'::regclass") == [(True,)]


def test_rights_of_the_old_table_are_all_that_the_new_one_has(loader: Loader, sql: Sql, reader_sql: Sql) -> None:
    """Default privileges of schema public would give flux_reader every column."""
    sql("CREATE TABLE poles (id varchar(20) PRIMARY KEY, name text)")
    sql("REVOKE ALL ON poles FROM flux_reader")
    sql("GRANT SELECT (id) ON poles TO flux_reader")
    loader.load(POLES, take_over=True)
    assert len(reader_sql("SELECT id FROM poles")) == 5
    with pytest.raises(errors.InsufficientPrivilege):
        reader_sql("SELECT name FROM poles")


def test_policies_of_a_layer_hold_through_every_publish(loader: Loader, sql: Sql, reader_sql: Sql) -> None:
    loader.load(POLES)
    sql(ENABLED.format("poles"))
    sql(POLICY.format("poles", "code < 2"))
    for count in (6, 7):
        loader.load(POLES, rows(count))
        assert reader_sql("SELECT count(*) FROM poles") == [(2,)]
        assert sql("SELECT count(*) FROM poles") == [(count,)]


def test_a_layer_whose_policies_hold_for_the_loader_is_not_misjudged(loader: Loader, sql: Sql, target: Target) -> None:
    loader.load(POLES)
    sql(ENABLED.format("poles"))
    sql("ALTER TABLE poles FORCE ROW LEVEL SECURITY")
    for judging in (lambda: audit_live(POLES, target), lambda: loader.load(POLES, rows(6))):
        with pytest.raises(FluxError, match="row-level security would hide rows") as caught:
            judging()
        assert 'policy for table "poles"' in caught.value.problem
        assert "NO FORCE ROW LEVEL SECURITY" in caught.value.remedy
    sql("ALTER TABLE poles NO FORCE ROW LEVEL SECURITY")
    assert loader.load(POLES, rows(6)).rows == 6


def test_a_synced_table_that_hides_rows_from_the_sync_is_refused_by_name(running: Utility, sql: Sql) -> None:
    sql(ENABLED.format("faults"))
    sql("ALTER TABLE faults FORCE ROW LEVEL SECURITY")
    running.tell("INSERT INTO FAULTS SELECT 'F2', 'L1', 'OPEN', SYSDATE(), 1, -95, 29")
    said = running.failed("faults")["faults"]
    assert "public.faults has row-level security that holds for user" in said
    assert "ALTER TABLE public.faults NO FORCE ROW LEVEL SECURITY" in said
    sql("ALTER TABLE faults NO FORCE ROW LEVEL SECURITY")
    assert running.synced("faults")["faults"].inserted == 1


def test_a_synced_table_of_others_is_refused_before_it_was_ever_synced(utility: Utility, sql: Sql) -> None:
    utility.tell(SEED)
    utility.synced()
    sql("DELETE FROM postgres_sync.sync_state")
    sql(ENABLED.format("faults"))
    sql("ALTER TABLE faults FORCE ROW LEVEL SECURITY")
    assert "public.faults has row-level security that holds" in utility.failed("faults")["faults"]


def test_a_synced_table_renamed_by_hand_keeps_its_rows_from_strangers(running: Utility, sql: Sql) -> None:
    sql(ENABLED.format("faults"))
    sql("ALTER TABLE faults RENAME TO faults_before_flux")
    said = running.failed("faults")["faults"]
    assert "public.faults_before_flux has row-level security, which the new table public.faults would not have" in said
    sql("ALTER TABLE faults_before_flux DISABLE ROW LEVEL SECURITY")
    running.synced()


def test_rows_hidden_in_what_columns_are_computed_from_are_not_counted_as_none(running: Utility, sql: Sql) -> None:
    sql('CREATE TABLE assets (feeder text, "load" float8)')
    sql("INSERT INTO assets VALUES ('L1', 40)")
    running.synced()
    assert sql("SELECT load FROM feeders") == [(40.0,)]
    sql(ENABLED.format("assets"))
    sql("ALTER TABLE assets FORCE ROW LEVEL SECURITY")
    said = running.failed("feeders", force=True)["feeders"]
    assert 'policy for table "assets"' in said
    assert sql("SELECT load FROM feeders") == [(40.0,)]


def test_triggers_of_others_may_write_where_policies_hold_for_us(running: Utility, sql: Sql) -> None:
    sql("CREATE TABLE history (what text, note text DEFAULT 'x')")
    sql("ALTER TABLE history ENABLE ROW LEVEL SECURITY; ALTER TABLE history FORCE ROW LEVEL SECURITY")
    sql("CREATE POLICY add ON history FOR INSERT WITH CHECK (note = 'x')")
    sql(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO public.history VALUES (tg_table_name); RETURN NULL; END $$"
    )
    for table in ("faults", "feeders"):
        sql(f"CREATE TRIGGER note AFTER INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION note()")
    running.tell("INSERT INTO FAULTS SELECT 'F2', 'L1', 'OPEN', SYSDATE(), 1, -95, 29")
    running.synced("faults")
    sql("ALTER TABLE history NO FORCE ROW LEVEL SECURITY")
    assert sql("SELECT what FROM history ORDER BY 1") == [("faults",), ("feeders",)]
