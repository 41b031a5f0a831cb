"""Tables of others that inherit from ours: a sync neither sees nor touches their rows, and says that they are there."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from flux_assets.compare.source import match_source
from flux_assets.doctor import layers as layers_doctor
from flux_assets.doctor import synced_tables
from flux_assets.doctor.finding import Finding
from flux_assets.errors import LayerError
from flux_assets.layers.status import audit_live
from flux_assets.orchestration.shown.metadata import synced_metadata
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import LiveTable
from flux_assets.postgis.session import Target
from flux_assets.previews.maps import Point
from flux_assets.spec.facts import Picture
from flux_assets.sync.live_audit import AuditRequest, LiveAudit, audit_tables
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.synced import FAULTS, FEEDERS, Utility

pytestmark = pytest.mark.bare

FILL = """
INSERT INTO FEEDERS VALUES ('A', 'one', 1), ('B', 'two', NULL);
INSERT INTO FAULTS SELECT 'F' || SEQ4(), 'A', 'OPEN', SYSDATE(), 1, -95, 29 FROM TABLE(GENERATOR(ROWCOUNT => 3))
"""
# An archive, one that inherits from the archive, and keys that are those of rows that stand.
ARCHIVES = """
CREATE TABLE archive (archived timestamp DEFAULT now()) INHERITS (faults);
CREATE TABLE attic () INHERITS (archive);
INSERT INTO archive (fault_id, feeder, state, lon, lat, geom)
    SELECT 'OLD' || n, 'A', 'OPEN', -95, 29, ST_Point(-95, 29, 4326) FROM generate_series(1, 40) AS n;
INSERT INTO attic (fault_id, feeder, state) VALUES ('F0', 'A', 'OPEN'), ('F1', 'B', 'LOST');
CREATE TABLE assets (feeder text, load float8);
CREATE TABLE old_assets () INHERITS (assets);
INSERT INTO assets VALUES ('A', 10), ('B', 20);
INSERT INTO old_assets VALUES ('A', 90), ('B', 90), ('B', 90), ('C', 1)
"""
INHERITED = "SELECT tableoid::regclass::text, md5(array_agg(t::text ORDER BY t::text)::text) FROM {} AS t GROUP BY 1"
# Names by table, not the other way round: these are what others own.
OTHERS = ("archive", "old_assets")


@pytest.fixture
def running(utility: Utility, sql: Sql) -> Utility:
    utility.tell(FILL)
    utility.synced()
    for statement in ARCHIVES.split(";"):
        sql(statement)
    return utility


def of_others(sql: Sql) -> list[tuple]:
    return [row for name in OTHERS for row in sorted(sql(INHERITED.format(name)))]


def own(sql: Sql) -> list[tuple]:
    return sql("SELECT fault_id, homes FROM ONLY faults ORDER BY 1")


def look(running: Utility, *names: str) -> LiveAudit:
    return audit_tables([AuditRequest(table=FAULTS, names=names)], running.target, running.source, Stop())["faults"]


def test_rows_that_inherit_outlive_every_kind_of_sync(running: Utility, sql: Sql) -> None:
    before = of_others(sql)
    said = running.synced(force=True)["faults"]
    assert (said.outcome, said.rows, said.deleted) == ("unchanged", 3, 0)
    running.tell("UPDATE FAULTS SET HOMES = 9 WHERE FAULT_ID IN ('F0', 'F1'); DELETE FROM FAULTS WHERE FAULT_ID = 'F2';"
                 "INSERT INTO FAULTS SELECT 'OLD1', 'B', 'OPEN', SYSDATE(), 7, -95, 29")  # fmt: skip
    said = running.synced()["faults"]
    assert (said.inserted, said.updated, said.deleted, said.rows) == (1, 2, 1, 3)
    assert own(sql) == [("F0", 9), ("F1", 9), ("OLD1", 7)]
    assert of_others(sql) == before


def test_what_is_computed_counts_the_own_rows_of_other_tables(running: Utility, sql: Sql) -> None:
    counted = "SELECT feeder, homes, faults, load FROM feeders ORDER BY 1"
    running.synced()
    assert sql(counted) == [("A", 1, 3, 10), ("B", 1, 0, 20)]
    running.tell("UPDATE FAULTS SET FEEDER = 'B' WHERE FAULT_ID = 'F0'")
    running.synced("faults")
    assert sql(counted) == [("A", 1, 2, 10), ("B", 1, 1, 20)], "also where the counts alone follow"


def test_rows_of_a_partitioned_origin_are_its_own(running: Utility, sql: Sql) -> None:
    sql("ALTER TABLE assets RENAME TO assets_before")
    sql("CREATE TABLE assets (feeder text, load float8) PARTITION BY LIST (feeder)")
    sql("CREATE TABLE assets_of_all PARTITION OF assets DEFAULT")
    sql("INSERT INTO assets VALUES ('A', 50), ('B', 60)")
    running.synced()
    assert sql("SELECT load FROM feeders ORDER BY feeder") == [(50,), (60,)]
    sql("DROP TABLE assets")
    sql("CREATE VIEW assets AS SELECT feeder, 2 * load AS load FROM ONLY assets_before")
    running.synced()
    assert sql("SELECT load FROM feeders ORDER BY feeder") == [(20,), (40,)]


def test_a_table_whose_columns_come_later_gives_them_to_its_heirs(running: Utility, sql: Sql) -> None:
    sql("ALTER TABLE faults DROP COLUMN homes")
    running.synced()
    assert own(sql) == [("F0", 1), ("F1", 1), ("F2", 1)]
    assert sql("SELECT count(*) FROM archive WHERE homes IS NULL") == [(42,)]


def test_others_go_on_writing_what_inherits_and_hold_up_no_sync(running: Utility, sql: Sql) -> None:
    """An archive may be locked for hours, by a VACUUM FULL or a restore."""
    running.tell("UPDATE FAULTS SET HOMES = 5")
    with psycopg.connect(running.target.conninfo) as busy:
        busy.execute("LOCK TABLE archive, attic, old_assets IN ACCESS EXCLUSIVE MODE")
        assert running.synced()["faults"].updated == 3
        busy.rollback()
    running.tell("UPDATE FAULTS SET HOMES = 6")
    assert running.synced()["faults"].updated == 3


def test_a_write_to_what_inherits_is_no_reason_to_read_the_source(running: Utility, sql: Sql) -> None:
    running.synced()
    sql("UPDATE archive SET homes = 1")
    assert running.synced()["faults"].gate == "the source's rows are the same"


def test_checks_and_comparisons_judge_the_own_rows(running: Utility) -> None:
    running.synced()
    names = ("row_count", "unique", "not_null", "accepted_values", "within", "map_ready", "volume")
    found = {audit.name: audit for audit in look(running, *names).audits}
    assert found["row_count"].numbers["rows"] == 3
    assert [name for name, audit in found.items() if not audit.passed] == []
    names = ["faults", "feeders"]
    matched = dict(match_source(names, running.family, running.source, running.target, Stop(), running.log.append))
    assert {name: each.passed for name, each in matched.items()} == {"faults": True, "feeders": True}
    assert [matched[name].numbers["rows"] for name in names] == [3, 2]


def test_keys_are_counted_in_the_own_rows_where_no_index_vouches_for_them(running: Utility, sql: Sql) -> None:
    running.synced()
    sql("ALTER TABLE faults DROP CONSTRAINT faults_pkey")
    (unique,) = look(running, "unique").audits
    assert unique.passed, "F0 and F1 are in the attic too"
    sql("INSERT INTO faults (fault_id) VALUES ('F0')")
    (unique,) = look(running, "unique").audits
    assert unique.sample == ("fault_id = F0, 2 times",)
    assert len(sql(unique.sql)) == 1


def test_a_check_of_what_is_looked_up_looks_at_own_rows(running: Utility, sql: Sql) -> None:
    running.tell("INSERT INTO FEEDERS VALUES ('C', 'three', 1)")
    running.synced()
    question = AuditRequest(table=FEEDERS, names=("derived",))
    (derived,) = audit_tables([question], running.target, running.source, Stop())["feeders"].audits
    assert (derived.passed, derived.numbers["not_in_assets"]) == (False, 1), "C is among the old assets alone"


def test_a_row_of_others_that_belongs_to_nobody_is_no_concern_of_ours(running: Utility, sql: Sql) -> None:
    running.synced()
    sql("UPDATE archive SET feeder = 'GONE'")
    (assigned,) = look(running, "all_assigned").audits
    assert assigned.passed, assigned.sample
    sql("UPDATE ONLY faults SET feeder = 'GONE' WHERE fault_id = 'F1'")
    (assigned,) = look(running, "all_assigned").audits
    assert assigned.sample == ("F1: not in feeders: feeder GONE",)
    assert len(sql(assigned.sql)) == 1


def test_a_picture_shows_the_own_rows(running: Utility, target: Target) -> None:
    picture = Picture(colour_column="state", size_column="homes", colours=(("OPEN", "#ff0000"),))
    with psycopg.connect(target.conninfo) as session:
        assert len(Point.of(session, LiveTable("public", FAULTS), picture)) == 3


def test_what_inherits_is_told(running: Utility, target: Target) -> None:
    told = synced_metadata(running.synced()["faults"])
    assert told["inherited_by"] == "archive"
    assert "inherited_by" not in synced_metadata(running.synced()["feeders"])
    with psycopg.connect(target.conninfo, autocommit=True) as session:
        warned = [
            each for each in synced_tables.targets(session, "public", running.tables) if each.outcome == "warning"
        ]
    (heirs,) = warned
    assert heirs.message.startswith("archive inherits from public.faults: ")
    assert "ALTER TABLE archive NO INHERIT public.faults" in heirs.remedy


def test_a_table_that_was_partitioned_by_hand_is_refused_in_words(utility: Utility, sql: Sql) -> None:
    utility.tell(FILL)
    utility.synced()
    sql("ALTER TABLE faults RENAME TO faults_0")
    sql("CREATE TABLE faults (LIKE faults_0, PRIMARY KEY (fault_id)) PARTITION BY LIST (fault_id)")
    sql("ALTER TABLE faults ATTACH PARTITION faults_0 DEFAULT")
    failed = utility.failed()
    assert "public.faults is a partitioned table and not an ordinary table" in failed["faults"]
    assert sql("SELECT count(*) FROM faults") == [(3,)]


KIN = {
    "a child": ("CREATE TABLE kin () INHERITS (poles)", "it inherits from the table", "ALTER TABLE kin NO INHERIT"),
    "a parent": (
        "CREATE TABLE kin (name text); ALTER TABLE poles INHERIT kin",
        "the table inherits from it",
        "ALTER TABLE public.poles NO INHERIT kin",
    ),
    "a table that it is a partition of": (
        "CREATE TABLE kin (LIKE poles) PARTITION BY LIST (id); ALTER TABLE kin ATTACH PARTITION poles DEFAULT",
        "the table is a partition of it",
        "ALTER TABLE kin DETACH PARTITION public.poles",
    ),
}


@pytest.fixture
def plain(target: Target, tmp_path: Path, sql: Sql) -> Loader:
    sql("CREATE TABLE poles (id varchar(20) PRIMARY KEY, name text)")
    sql("INSERT INTO poles VALUES ('old', 'Old')")
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def examined(target: Target) -> list[Finding]:
    with psycopg.connect(target.conninfo, autocommit=True) as session:
        return list(layers_doctor.findings(session, "public", [made_up()]))


@pytest.mark.parametrize(("make", "said", "remedy"), KIN.values(), ids=KIN.keys())
def test_a_plain_table_with_kin_is_not_taken_over(plain: Loader, sql: Sql, make: str, said: str, remedy: str) -> None:
    for statement in make.split("; "):
        sql(statement)
    with pytest.raises(LayerError) as refused:
        plain.load(made_up(), rows(40), take_over=True)
    assert said in refused.value.problem
    assert remedy in refused.value.problem
    assert sql("SELECT count(*) FROM postgres_sync.layer_versions") == [(0,)], "before anything is staged"
    assert sql("SELECT id FROM ONLY poles") == [("old",)]
    (found,) = examined(plain.target)
    assert "cannot be taken over" in found.message
    assert "kin" in found.message


def test_a_plain_table_without_its_kin_is_taken_over(plain: Loader, sql: Sql) -> None:
    sql("CREATE TABLE kin () INHERITS (poles)")
    sql("INSERT INTO kin VALUES ('kin', 'Kin')")
    assert {audit.numbers["rows"] for audit in audit_live(made_up(), plain.target, ["row_count"])} == {1}
    sql("ALTER TABLE kin NO INHERIT poles")
    plain.load(made_up(), rows(40), take_over=True)
    assert sql("SELECT * FROM kin") == [("kin", "Kin")]
    assert sql("SELECT count(*) FROM poles") == [(40,)]
