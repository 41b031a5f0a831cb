"""Loading a made-up layer into real PostGIS: versions, skipping, keeping, rolling back, changing shape."""

import json
import re
import threading
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from geoalchemy2 import Geometry

from flux_assets.errors import AuditError, BusyError, LayerError, RecordError, SchemaChangeError, TargetError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import rollback
from flux_assets.layers.status import audit_live
from flux_assets.ledger import runs
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets_tests.conftest import Sql
from flux_assets_tests.leasing import someone_else
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, made_up, point, rows

pytestmark = pytest.mark.bare


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def version_tables(sql: Sql) -> set[str]:
    return {name for (name,) in sql("SELECT relname FROM pg_class WHERE relnamespace = 'flux_versions'::regnamespace"
                                    " AND relkind = 'r'")}  # fmt: skip


def ledger(sql: Sql) -> list[tuple]:
    return sql("SELECT sync_type, status, rows_synced FROM postgres_sync.sync_status ORDER BY sync_id")


def test_a_first_load_publishes_every_value_as_it_is(loader: Loader, sql: Sql) -> None:
    nasty = 'O\'Brien, "Süd"\nline two; DROP TABLE poles; --'
    content = [*rows(3), rows(1, start=3)[0] | {"name": nasty, "score": None}, rows(1, start=4)[0] | {"name": ""}]
    result = loader.load(made_up(), content)
    assert (result.outcome, result.rows, result.rows_changed) == ("published", 5, True)
    assert sql("SELECT id, code, name, score, ST_X(geom), ST_Y(geom), ST_SRID(geom) FROM poles ORDER BY id") == [
        (f"{n:06d}", n, name, score, 10 + n / 1e4, 50 + n / 1e4, 4326)
        for n, name, score in [
            (0, "Pole 0", 0.5),
            (1, "Pole 1", 0.5),
            (2, "Pole 2", 0.5),
            (3, nasty, None),
            (4, "", 0.5),
        ]
    ]
    assert result.extent == (10.0, 50.0, 10.0004, 50.0004)
    assert all(audit.passed for audit in result.audits)
    assert ledger(sql) == [("FULL", "SUCCESS", 5)]


def test_the_public_table_is_what_users_expect(loader: Loader, sql: Sql, reader_sql: Sql) -> None:
    """Key and plain indexes on the public name, GiST and unique ones on the version, map tools see the layer once."""
    loader.load(made_up(), rows(50))
    bodies = "SELECT regexp_replace(indexdef, '.* USING ', '') FROM pg_indexes WHERE schemaname = '{}' ORDER BY 1"
    assert [body for (body,) in sql(bodies.format("public")) if body != "btree (srid)"] == [
        "btree (id)",
        "btree (name)",
    ]
    assert [body for (body,) in sql(bodies.format("flux_versions"))] == [
        "btree (code)", "btree (id)", "btree (name)", "gist (geom)"]  # fmt: skip
    seen = reader_sql("SELECT f_table_schema, f_table_name, type, srid FROM geometry_columns")
    assert ("public", "poles", "POINT", 4326) in seen
    assert reader_sql("SELECT count(*) FROM poles") == [(50,)]
    assert reader_sql("SELECT has_schema_privilege('flux_versions', 'usage')") == [(False,)]
    assert sql("SELECT obj_description('poles'::regclass)") == [("Made-up poles.",)]
    assert sql("SELECT ST_EstimatedExtent('public', 'poles', 'geom') IS NOT NULL") == [(True,)]


def test_an_unchanged_file_is_not_loaded_again(loader: Loader, sql: Sql) -> None:
    first = loader.load(made_up(), rows(5))
    before = version_tables(sql)
    second = loader.load(made_up())
    assert (second.outcome, second.rows_changed, second.version) == ("unchanged", False, first.version)
    assert second.audits == first.audits
    assert version_tables(sql) == before
    assert ledger(sql) == [("FULL", "SUCCESS", 5), ("UNCHANGED", "SUCCESS", 5)]


def test_force_loads_an_unchanged_file_again(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(5))
    before = version_tables(sql)
    assert loader.load(made_up(), force=True).outcome == "published"
    assert len(version_tables(sql) - before) == 1


@pytest.mark.parametrize("damage", ["DELETE FROM {}", "ALTER TABLE poles DETACH PARTITION {}", "DROP TABLE {}"])
def test_a_version_that_is_not_live_as_registered_is_loaded_again(loader: Loader, sql: Sql, damage: str) -> None:
    """The register alone is not believed: the version must be the default partition, with rows."""
    loader.load(made_up(), rows(5))
    (name,) = version_tables(sql)
    sql(damage.format(f"flux_versions.{name}"))
    assert loader.load(made_up()).outcome == "published"
    assert sql("SELECT count(*) FROM poles") == [(5,)]


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_so_many_earlier_versions_are_kept(loader: Loader, sql: Sql, keep: int) -> None:
    for count in (5, 6, 7, 8):
        loader.load(made_up(), rows(count), keep_versions=keep)
    assert len(version_tables(sql)) == 1 + keep
    assert sql("SELECT count(*) FROM poles") == [(8,)]
    assert sql("SELECT count(*) FROM postgres_sync.layer_versions WHERE state <> 'dropped'") == [(1 + keep,)]


def test_rollback_publishes_the_version_before(loader: Loader, sql: Sql, target: Target) -> None:
    loader.load(made_up(), rows(5))
    loader.load(made_up(), rows(6))
    rollback(made_up(), target, LoadOptions(), loader.log.append)
    assert sql("SELECT count(*) FROM poles") == [(5,)]
    rollback(made_up(), target, LoadOptions(), loader.log.append)
    assert sql("SELECT count(*) FROM poles") == [(6,)]
    assert ledger(sql)[-2:] == [("ROLLBACK", "SUCCESS", 5), ("ROLLBACK", "SUCCESS", 6)]


def test_rollback_to_a_named_version(loader: Loader, sql: Sql, target: Target) -> None:
    versions = [loader.load(made_up(), rows(count), keep_versions=2).version for count in (5, 6, 7)]
    rollback(made_up(), target, LoadOptions(), loader.log.append, to=versions[0][:12])
    assert sql("SELECT count(*) FROM poles") == [(5,)]
    with pytest.raises(LayerError, match="no kept version beef.*" + versions[2][:12]):
        rollback(made_up(), target, LoadOptions(), loader.log.append, to="beef")


def test_rollback_without_an_earlier_version_says_so(loader: Loader, sql: Sql, target: Target) -> None:
    loader.load(made_up(), rows(5))
    with pytest.raises(LayerError, match="no earlier version"):
        rollback(made_up(), target, LoadOptions(), loader.log.append)
    assert ledger(sql) == [("FULL", "SUCCESS", 5)], "a question, and no failed run"


def test_a_release_that_comes_back_is_published_without_loading(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(5))
    loader.load(made_up(), rows(6))
    before = version_tables(sql)
    loader.load(made_up(), rows(5))
    assert sql("SELECT count(*) FROM poles") == [(5,)]
    assert version_tables(sql) == before
    assert ledger(sql)[-1] == ("PUBLISH", "SUCCESS", 5)


def test_a_changed_comment_is_written_and_reloads_nothing(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(5))
    again = columns(name=sa.Column("name", sa.String(50), comment="What people call it."))
    assert loader.load(made_up(parts=again, comment="Poles, renamed.")).outcome == "unchanged"
    assert sql("SELECT obj_description('poles'::regclass), col_description('poles'::regclass, 3)") == [
        ("Poles, renamed.", "What people call it.")
    ]


def test_a_declared_column_is_added_to_the_public_table_and_kept_versions(
    loader: Loader, sql: Sql, target: Target
) -> None:
    """Loads and rollbacks over an added column work, and views go on."""
    loader.load(made_up(), rows(5))
    loader.load(made_up(), rows(6))
    sql("CREATE VIEW pole_names AS SELECT id, name FROM poles")
    wider = made_up(parts=columns(height=sa.Column("height", sa.Double, comment="Height in metres.")))
    loader.load(wider, [row | {"height": 9.5} for row in rows(7)])
    assert sql("SELECT count(*), sum(height) FROM poles") == [(7, 66.5)]
    rollback(wider, target, LoadOptions(), loader.log.append)
    assert sql("SELECT count(*), sum(height) FROM poles") == [(6, None)]
    assert sql("SELECT count(*) FROM pole_names") == [(6,)]


def test_an_added_required_column_is_required_from_its_first_version_on(
    loader: Loader, sql: Sql, target: Target
) -> None:
    loader.load(made_up(), rows(5))
    wider = made_up(parts=columns(height=sa.Column("height", sa.Double, nullable=False, comment="Metres.")))
    loader.load(wider, [row | {"height": 9.5} for row in rows(7)])
    assert sql("SELECT attnotnull FROM pg_attribute WHERE attrelid = 'poles'::regclass AND attname = 'height'") == [
        (True,)
    ]
    with pytest.raises(LayerError, match="height"):
        rollback(wider, target, LoadOptions(), loader.log.append)
    assert sql("SELECT count(*) FROM poles") == [(7,)]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (None, "column score .double precision. is no longer declared"),
        (sa.Column("score", sa.Integer, comment="Share."), "column score is double precision and declared as integer"),
    ],
    ids=["removed", "retyped"],
)
def test_a_removed_or_retyped_column_is_the_users_decision(
    loader: Loader, sql: Sql, column: sa.Column | None, said: str
) -> None:
    loader.load(made_up(), rows(5))
    changed = made_up(parts=columns(score=column), ranges=())
    content = [row | {"score": 1} for row in rows(6)]
    sql("CREATE VIEW scores AS SELECT score FROM poles")
    with pytest.raises(SchemaChangeError, match=f"{said}.*Views read it: public.scores|{said}.*Views read it: scores"):
        loader.load(changed, content, accept_schema_change=True)
    sql("DROP VIEW scores")
    with pytest.raises(SchemaChangeError, match=f"{said}.*accept_schema_change: true"):
        loader.load(changed, content)
    assert sql("SELECT count(*), sum(score) FROM poles") == [(5, 2.5)]
    loader.load(changed, content, accept_schema_change=True)
    types = dict(sql("SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
                     " WHERE attrelid = 'poles'::regclass AND attnum > 0 AND NOT attisdropped"))  # fmt: skip
    assert types.get("score") == (None if column is None else "integer")
    assert sql("SELECT count(*) FROM poles") == [(6,)]


@pytest.mark.parametrize("change", ["DROP COLUMN score", "RENAME COLUMN score TO points", "ALTER score TYPE real"])
def test_a_public_table_that_lost_a_column_is_no_current_version(loader: Loader, sql: Sql, change: str) -> None:
    loader.load(made_up(), rows(5))
    sql(f"ALTER TABLE poles {change}")
    if "DROP" in change:
        assert loader.load(made_up()).outcome == "published"
        assert sql("SELECT sum(score) FROM poles") == [(2.5,)]
    else:
        with pytest.raises(SchemaChangeError, match=r"points|score"):
            loader.load(made_up())


def test_a_column_may_become_optional_when_that_is_accepted(loader: Loader, sql: Sql) -> None:
    """A NOT NULL that is not declared may be a user's own, so it stands until the user says otherwise."""
    strict = made_up(parts=columns(score=sa.Column("score", sa.Double, nullable=False, comment="Share.")))
    loader.load(strict, rows(5))
    content = rows(6)
    content[3]["score"] = None
    with pytest.raises(RecordError, match=r"line 5.*accept_schema_change: true"):
        loader.load(made_up(), content)
    loader.load(made_up(), accept_schema_change=True)
    assert sql("SELECT count(*), count(score) FROM poles") == [(6, 5)]


def test_users_can_change_the_public_table_while_a_load_stages(loader: Loader, sql: Sql) -> None:
    """Staging must hold no lock on it: an ALTER would wait for the whole COPY, and every reader behind it."""
    loader.load(made_up(), rows(5))
    begun: list[int] = []

    class Staging(Stop):
        def check(self) -> None:
            if not begun and sql("SELECT 1 FROM pg_stat_activity WHERE application_name LIKE '%stage poles%'"
                                 " AND datname = current_database() AND query LIKE 'COPY%'"):  # fmt: skip
                begun.append(1)
                sql("SET lock_timeout = '2s'")
                sql("DO $$ BEGIN LOCK TABLE ONLY poles IN ACCESS EXCLUSIVE MODE; END $$")
            super().check()

    loader.load(made_up(), rows(3000), stop=Staging())
    assert begun
    assert sql("SELECT count(*) FROM poles") == [(3000,)]


def test_rolling_back_over_an_accepted_change_is_refused(loader: Loader, sql: Sql, target: Target) -> None:
    loader.load(made_up(), rows(5))
    narrower = made_up(parts=columns(score=None), ranges=())
    loader.load(narrower, rows(6), accept_schema_change=True)
    with pytest.raises(LayerError, match="score"):
        rollback(narrower, target, LoadOptions(), loader.log.append)
    assert sql("SELECT count(*) FROM poles") == [(6,)]


def test_a_retyped_key_is_refused_even_when_accepted(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(5))
    other = made_up(parts=columns(id=sa.Column("id", sa.Integer, primary_key=True, autoincrement=False, comment="Id.")))
    with pytest.raises(SchemaChangeError, match="partition key"):
        loader.load(other, rows(5), accept_schema_change=True, force=True)
    assert sql("SELECT count(*) FROM poles") == [(5,)]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE TABLE poles (id varchar(20) PRIMARY KEY)", "a plain table .*load with take_over: true"),
        ("CREATE VIEW poles AS SELECT 1 AS id", "a view .*Rename it to poles_before_flux"),
    ],
)
def test_a_table_that_is_not_ours_is_left_alone(loader: Loader, sql: Sql, statement: str, said: str) -> None:
    sql(statement)
    with pytest.raises(LayerError, match=f"public.poles is {said}"):
        loader.load(made_up(), rows(5))
    assert sql("SELECT relkind::text FROM pg_class WHERE relname = 'poles'") == [
        ("r" if "TABLE" in statement else "v",)
    ]
    assert ledger(sql)[-1][:2] == ("FULL", "FAILED")


def test_partitions_of_other_people_are_refused(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(5))
    sql("CREATE TABLE mine PARTITION OF poles FOR VALUES IN ('mine')")
    with pytest.raises(LayerError, match=r"partitions that flux_assets did not make: .*mine"):
        loader.load(made_up(), rows(6))


def test_a_layer_without_a_key_is_published(loader: Loader, sql: Sql) -> None:
    parts = [
        sa.Column("from_id", sa.String(20), comment="From."),
        sa.Column("to_id", sa.String(20), comment="To."),
        sa.Column("geom", Geometry("POINT", srid=4326, spatial_index=False), comment="Position."),
    ]
    edges = made_up("edges", parts=parts, positions=(), ranges=(), references=())
    pairs = [{"from_id": None, "to_id": "b", "geom": point(1, 2)}] * 2 + [{"from_id": "a", "to_id": None, "geom": None}]
    loader.load(edges, pairs)
    loader.load(edges, pairs * 2)
    assert sql("SELECT count(*), count(from_id) FROM edges") == [(6, 2)]


def test_layers_of_two_schemas_do_not_meet(loader: Loader, sql: Sql, target: Target, tmp_path: Path) -> None:
    sql("CREATE SCHEMA other")
    loader.load(made_up(), rows(5))
    elsewhere = Loader(Target(conninfo=target.conninfo, schema="other"), loader.source)
    elsewhere.load(made_up(), rows(6))
    assert sql("SELECT (SELECT count(*) FROM public.poles), (SELECT count(*) FROM other.poles)") == [(5, 6)]


def test_a_missing_schema_is_named(loader: Loader, target: Target) -> None:
    missing = Loader(Target(conninfo=target.conninfo, schema="nowhere"), loader.source)
    with pytest.raises(TargetError, match=r"Schema nowhere does not exist.*CREATE SCHEMA nowhere"):
        missing.load(made_up(), rows(5))


def test_names_of_the_longest_length_are_loaded(loader: Loader, sql: Sql) -> None:
    longest = "p" * 63
    loader.load(made_up(longest), rows(5))
    loader.load(made_up(longest), rows(6))
    assert sql(f"SELECT count(*) FROM {longest}") == [(6,)]


def test_a_rejected_version_is_kept_for_inspection_until_the_next_load(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(5))
    published = version_tables(sql)
    with pytest.raises(AuditError, match=r"unique.*id = 000001, 2 times"):
        loader.load(made_up(), [*rows(5), rows(1, start=1)[0] | {"code": 99}])
    assert len(version_tables(sql)) == 2
    assert sql("SELECT count(*) FROM poles") == [(5,)]
    loader.load(made_up(), rows(6))
    assert version_tables(sql) - published
    assert len(version_tables(sql)) == 2
    assert sql("SELECT state, current FROM postgres_sync.layer_versions ORDER BY lease") == [
        ("published", False), ("dropped", False), ("published", True)]  # fmt: skip


def test_what_an_interrupted_load_left_is_cleared_by_the_next(loader: Loader, sql: Sql) -> None:
    """A process that was killed leaves a RUNNING ledger row and a half-made version behind."""
    loader.load(made_up(), rows(5))
    sql("CREATE TABLE flux_versions.half (id int)")
    sql("INSERT INTO postgres_sync.layer_versions"
        " (schema_name, layer_name, lease, version, sha256, release_tag, relation, state)"
        " VALUES ('public', 'poles', 0, 'x', 'x', 'x', 'half', 'staging')")  # fmt: skip
    sql("INSERT INTO postgres_sync.sync_status (layer_name, backend_pid, backend_start) VALUES ('poles', 1, now())")
    loader.load(made_up(), rows(6))
    assert "half" not in version_tables(sql)
    assert ("FULL", "FAILED", None) in ledger(sql)
    assert sql("SELECT count(*) FROM postgres_sync.sync_status WHERE status = 'RUNNING'") == [(0,)]


def test_a_second_load_of_the_same_layer_waits_and_names_the_first(loader: Loader, target: Target) -> None:
    loader.load(made_up(), rows(5))
    first = r"public.poles is being loaded by process \d+ \(another, user flux"
    with someone_else(target.conninfo, name="poles"), pytest.raises(BusyError, match=first):
        loader.load(made_up(), rows(6), publish_wait=timedelta(seconds=1))
    assert [line for line in loader.log if re.search(f"{first}.*waiting up to 1 s", line)]
    assert loader.load(made_up(), rows(6)).outcome == "published"


def test_a_stop_request_ends_a_load_and_keeps_what_was_published(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(5))
    stop = Stop()
    stop.request()
    with pytest.raises(LayerError, match="Stopped on request"):
        loader.load(made_up(), rows(6), stop=stop)
    assert sql("SELECT count(*) FROM poles") == [(5,)]
    assert ledger(sql)[-1][:2] == ("FULL", "FAILED")
    assert loader.load(made_up(), rows(6)).outcome == "published"


def test_a_load_that_fails_amid_its_copy_leaves_no_thread_behind(loader: Loader) -> None:
    """Also while somebody holds the error: a process that ends with a reader's thread at work never does."""
    header = ",".join(made_up().column_names)
    # More than the threads read ahead, so that they are at work when the load fails.
    content = header + "\n" + "".join(f"{number},{number},{'x' * 50},,,,,\n" for number in range(500_000))

    reached: list[str] = []

    def fail(point: str) -> None:
        reached.append(point)
        # The first piece is a header, for which nothing is read.
        if reached.count("load.copying") == 2:
            raise LayerError("As a cancelled statement does.")

    runs.hooks.append(fail)
    try:
        with pytest.raises(LayerError, match="cancelled") as held:
            loader.load(made_up(), content)
    finally:
        runs.hooks.remove(fail)
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith(("parse", "gunzip"))]
    assert left == [], held.value


def test_a_publish_is_notified_with_table_and_version(loader: Loader, target: Target) -> None:
    with target.session("listener") as listener:
        listener.execute("LISTEN flux_published")
        result = loader.load(made_up(), rows(5))
        (heard,) = listener.notifies(timeout=10, stop_after=1)
    told = {"schema": "public", "table": "poles", "kind": "published", "version": result.version}
    assert json.loads(heard.payload) == told


def test_audits_of_the_live_table_can_be_run_alone(loader: Loader, sql: Sql, target: Target) -> None:
    loader.load(made_up(), rows(30))
    assert all(audit.passed for audit in audit_live(made_up(), target))
    sql("UPDATE poles SET score = 2, parent_id = 'nobody' WHERE code = 7")
    found = {audit.name: audit for audit in audit_live(made_up(), target, {"accepted_range", "relationships"})}
    assert {name: (audit.passed, audit.sample) for name, audit in found.items()} == {
        "accepted_range": (False, ("000007: score = 2",)),
        "relationships": (False, ("000007: parent_id not in poles: nobody",)),
    }
    assert [row[0] for row in sql(found["accepted_range"].sql)] == ["000007"]


def test_auditing_a_layer_that_was_never_loaded_says_so(target: Target) -> None:
    with pytest.raises(LayerError, match="has not been published yet"):
        audit_live(made_up(), target)
