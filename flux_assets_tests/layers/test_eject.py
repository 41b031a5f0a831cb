"""Giving a layer back, and adopting it again: readers notice nothing, and nothing that hangs on it is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from flux_assets.errors import LayerError, PinnedError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.eject import eject
from flux_assets.layers.rollback import pin, unpin
from flux_assets.layers.versions import Version
from flux_assets.postgis.session import Target
from flux_assets_tests.conftest import Sql
from flux_assets_tests.hung_on import READING, counts, facts, hung_on
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

POLES = made_up()


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def ejected(loader: Loader) -> Version | None:
    return eject(POLES, loader.target, LoadOptions(), loader.log.append)


@contextmanager
def asking_all_the_while(target: Target) -> Iterator[dict[str, list[int] | list[str]]]:
    """Ten requests a second, each of which asks for everything; what they found, and what failed."""
    found: dict[str, list[int] | list[str]] = {name: [] for name in READING} | {"failed": []}
    over = threading.Event()

    def ask() -> None:
        with psycopg.connect(target.conninfo, autocommit=True) as reader:
            while not over.wait(0.1):
                for name, question in READING.items():
                    try:
                        ((count,),) = reader.execute(question).fetchall()
                    except psycopg.Error as error:
                        found["failed"].append(f"{name}: {error}")
                        return
                    found[name].append(count)

    reading = threading.Thread(target=ask)
    reading.start()
    try:
        yield found
    finally:
        over.set()
        reading.join()


def test_over_and_back_and_over_again_under_readers(loader: Loader, sql: Sql, admin_sql: Sql) -> None:
    """Adopt, eject, adopt, and the next release, with everything that can hang on a table."""
    with hung_on(sql, admin_sql):
        before = facts(sql)
        with asking_all_the_while(loader.target) as found:
            loader.load(POLES, rows(40), take_over=True)
            assert (facts(sql), counts(sql)) == (before, dict.fromkeys(READING, 40))
            ejected(loader)
            assert (facts(sql), counts(sql)) == (before, dict.fromkeys(READING, 40))
            assert sql("SELECT relkind FROM pg_class WHERE oid = 'poles'::regclass") == [("r",)]
            loader.load(POLES, rows(41), take_over=True)
            assert (facts(sql), counts(sql)) == (before, dict.fromkeys(READING, 41))
            loader.load(POLES, rows(42))
        assert (facts(sql), counts(sql)) == (before, dict.fromkeys(READING, 42))
        assert sql("SELECT count(*) FROM poles_before_flux") == [(1,)]
        assert sql("SELECT count(*) FROM poles_before_flux_2") == [(40,)]
        assert (
            sql(
                "SELECT relname FROM pg_class WHERE relname ~ 'tried|of_layer' OR relkind = 'm'"
                " AND relnamespace = 'flux_versions'::regnamespace"
            )
            == []
        )
    assert found.pop("failed") == []
    assert all(set(seen) <= {1, 2, 40, 41, 42} for name, seen in found.items() if name != "owned"), found
    assert all(seen == sorted(seen) and seen for seen in found.values()), found


def test_an_old_snapshot_sees_all_rows_of_a_layer_that_was_ejected(loader: Loader, sql: Sql) -> None:
    loader.load(POLES, rows(40))
    with psycopg.connect(loader.target.conninfo) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT FROM pg_class LIMIT 1")
        ejected(loader)
        assert reader.execute("SELECT count(*) FROM poles").fetchone() == (40,)


def test_an_ejected_layer_is_told_to_be_a_plain_table_and_not_broken(loader: Loader, sql: Sql) -> None:
    loader.load(POLES, rows(40))
    ejected(loader)
    asked = "SELECT state, detail FROM postgres_sync.v_table_status WHERE layer_name = 'poles'"
    assert sql(asked) == [("never loaded", "a plain table of another origin has its name")]
    assert eject(POLES, loader.target, LoadOptions(), loader.log.append) is None
    loader.load(POLES, take_over=True)
    assert sql(asked) == [("live", "")]


def test_dropped_foreign_keys_come_back(loader: Loader, sql: Sql) -> None:
    sql("CREATE TABLE poles (id varchar(20) PRIMARY KEY)")
    sql("CREATE TABLE lamps (pole varchar(20) CONSTRAINT of_pole REFERENCES poles)")
    loader.load(POLES, rows(40), take_over=True, drop_foreign_keys=True)
    sql("INSERT INTO lamps VALUES ('gone')")
    ejected(loader)
    assert sql("SELECT confrelid::regclass::text FROM pg_constraint WHERE conname = 'of_pole'") == [("poles",)]
    assert sql("SELECT count(*) FROM postgres_sync.dropped_keys") == [(0,)]
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        sql("INSERT INTO lamps VALUES ('nowhere')")


def test_what_cannot_be_ejected_is_refused_without_a_run(loader: Loader, sql: Sql) -> None:
    with pytest.raises(LayerError, match="no published version"):
        ejected(loader)
    loader.load(POLES, rows(40))
    pin(POLES, loader.target, LoadOptions(), loader.log.append)
    with pytest.raises(PinnedError, match="unpin poles"):
        ejected(loader)
    unpin(POLES, loader.target)
    sql("CREATE VIEW whole AS SELECT p FROM poles p")
    with pytest.raises(LayerError, match="view whole stands in the way: its column p holds whole rows"):
        ejected(loader)
    assert sql("SELECT count(*) FROM postgres_sync.sync_status WHERE sync_type = 'EJECT'") == [(0,)]


REFUSING = (
    "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
    " IF current_query() ~ '{}' THEN RAISE 'not now'; END IF; END $$;"
    " CREATE EVENT TRIGGER refusing ON ddl_command_start WHEN tag IN ('ALTER TABLE') EXECUTE FUNCTION refuse()"
)


def test_an_ejection_that_fails_leaves_the_layer_as_it_was(loader: Loader, sql: Sql, admin_sql: Sql) -> None:
    loader.load(POLES, rows(40))
    sql("CREATE MATERIALIZED VIEW tally AS SELECT count(*) AS poles FROM poles")
    admin_sql(REFUSING.format("SET SCHEMA"))
    with pytest.raises(LayerError, match="not now"):
        ejected(loader)
    admin_sql("DROP EVENT TRIGGER refusing")
    assert sql("SELECT count(*) FROM pg_class WHERE relkind = 'm'") == [(1,)]
    assert loader.load(POLES).outcome == "unchanged"
    ejected(loader)
    assert sql("SELECT poles FROM tally") == [(40,)]


def test_views_of_an_ejection_that_was_killed_go_with_their_version(loader: Loader, sql: Sql) -> None:
    loader.load(POLES, rows(40))
    sql("CREATE MATERIALIZED VIEW tally AS SELECT count(*) AS poles FROM poles")
    [(version,)] = sql("SELECT relation FROM postgres_sync.layer_versions WHERE current")
    sql(f"CREATE MATERIALIZED VIEW flux_versions.tally AS SELECT count(*) AS poles FROM flux_versions.{version}")
    for count in (41, 42, 43):
        loader.load(POLES, rows(count))
    assert sql(f"SELECT to_regclass('flux_versions.{version}'), to_regclass('flux_versions.tally')") == [(None, None)]
    assert sql("SELECT poles FROM tally") == [(43,)]


def test_what_is_a_plain_table_already_stays_one(loader: Loader, sql: Sql) -> None:
    loader.load(POLES, rows(40))
    assert ejected(loader) is not None
    assert ejected(loader) is None
    assert sql("SELECT count(*), count(*) FILTER (WHERE sync_type = 'EJECT') FROM postgres_sync.sync_status") == [
        (2, 1)
    ]


def test_a_last_step_that_fails_is_told_with_what_to_run(loader: Loader, sql: Sql, admin_sql: Sql) -> None:
    loader.load(POLES, rows(40))
    admin_sql(REFUSING.format("DETACH"))
    ejected(loader)
    admin_sql("DROP EVENT TRIGGER refusing")
    (said,) = [line for line in loader.log if "what is left is to run" in line]
    assert sql("SELECT count(*) FROM poles") == [(40,)]
    by_hand = said.split("to run ")[1].split(", because")[0]
    assert by_hand.endswith('DROP TABLE "public"."poles_of_layer"')
    assert ejected(loader) is None
    assert sql("SELECT to_regclass('poles_of_layer')") == [(None,)]
    loader.load(POLES, rows(41), take_over=True)
    assert sql("SELECT count(*) FROM poles") == [(41,)]
