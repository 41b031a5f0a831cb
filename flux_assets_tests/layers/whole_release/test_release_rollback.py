"""Going back to a release: every layer in one transaction, or none, while readers look on."""

import threading
from datetime import timedelta

import psycopg
import pytest

from flux_assets.errors import BusyError, LayerError, PublishError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.publish import Publication, publish
from flux_assets.layers.rollback import rollback_release
from flux_assets.layers.schema_diff import Public
from flux_assets.layers.status import layer_pins, table_statuses
from flux_assets.layers.versions import Version
from flux_assets.ledger.runs import Lease
from flux_assets.postgis.relations import Layer
from flux_assets_tests.leasing import open_entry, someone_else
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

NAMES = ("poles", "wires", "masts")
TABLES = [made_up(name) for name in NAMES]
COUNTS = "SELECT " + ", ".join(f"(SELECT count(*) FROM {name})" for name in NAMES)


class City:
    """Three layers, loaded from one release after another."""

    def __init__(self, target, folder) -> None:
        self.target, self.folder = target, folder
        self.log: list[str] = []

    def load(self, tag: str, *counts: int, keep: int = 3) -> None:
        """Layers with the same count as before are the same file."""
        source = ReleaseFolder(self.folder / tag, tag=tag)
        for table, count in zip(TABLES, counts, strict=False):
            Loader(self.target, source).load(table, rows(count), keep_versions=keep)

    def back(self, tag: str, **options: object):
        return rollback_release(TABLES, self.target, LoadOptions(**options), self.log.append, tag)


@pytest.fixture
def city(target, tmp_path) -> City:
    made = City(target, tmp_path)
    made.load("v1", 3, 4, 5)
    made.load("v2", 13, 4, 15)
    made.load("v3", 23, 24, 25)
    return made


def test_all_layers_go_back_together_and_are_pinned(city, sql, target):
    done = city.back("v1")
    assert sql(COUNTS) == [(3, 4, 5)]
    assert [(table.name, version.rows, version.current) for table, version in done.moved] == [
        ("masts", 5, True), ("poles", 3, True), ("wires", 4, True),
    ]  # fmt: skip
    assert done.stayed == []
    published = {version.published_at for _, version in done.moved}
    ((ledger,),) = sql("SELECT count(DISTINCT xmin::text) FROM postgres_sync.sync_status WHERE sync_type = 'ROLLBACK'")
    assert (len(published), ledger) == (3, 1), "one transaction"
    assert {pin.reason for pin in layer_pins(target).values()} == {"rolled back to release v1"}
    assert all(status.state == "live" for status in table_statuses(target, TABLES))
    city.load("v3", 23, 24, 25)
    assert sql(COUNTS) == [(3, 4, 5)]


def test_a_layer_that_did_not_change_belongs_to_both_releases(city, sql):
    assert [table.name for table, _ in city.back("v2").moved] == ["masts", "poles", "wires"]
    assert sql(COUNTS) == [(13, 4, 15)]


def test_what_is_of_the_release_already_stays_and_is_pinned_with_the_others(city, sql, target):
    city.back("v2")
    done = city.back("v1")
    assert ([t.name for t, _ in done.moved], [t.name for t, _ in done.stayed]) == (["masts", "poles"], ["wires"])
    assert layer_pins(target)["wires"].reason == "kept at release v1"
    assert sql(
        "SELECT count(*) FROM postgres_sync.sync_status WHERE layer_name = 'wires' AND sync_type = 'ROLLBACK'"
    ) == [(1,)]
    assert city.back("v1").moved == []
    assert sql(COUNTS) == [(3, 4, 5)]


def test_where_one_has_no_such_version_none_goes_back_and_it_is_named(city, sql, target):
    city.load("v4", 33, keep=1)
    before = sql("SELECT count(*) FROM postgres_sync.sync_status")
    with pytest.raises(LayerError, match=r"of release v1 is kept of public\.poles \(has v4, v3\)\.") as raised:
        city.back("v1")
    assert "FLUX_KEEP_VERSIONS" in str(raised.value)
    assert sql(COUNTS) == [(33, 24, 25)]
    assert layer_pins(target) == {}
    assert sql("SELECT count(*) FROM postgres_sync.sync_status") == before, "a question answered is no failed run"


@pytest.mark.parametrize("damage", ["DROP TABLE {}", "TRUNCATE {}"])
def test_a_version_that_lost_its_rows_is_none(city, sql, damage):
    ((relation,),) = sql("SELECT relation FROM postgres_sync.layer_versions WHERE layer_name = 'poles' AND rows = 3")
    sql(damage.format(f"flux_versions.{relation}"))
    with pytest.raises(LayerError, match=r"no whole version of release v1 is kept of public\.poles"):
        city.back("v1")


def test_a_release_that_nobody_knows(city):
    with pytest.raises(LayerError, match=r"public\.masts \(has v3, v2, v1\); public\.poles"):
        city.back("v9")


def test_a_layer_that_was_never_loaded_is_left_out(target, tmp_path, sql):
    city = City(target, tmp_path)
    with pytest.raises(LayerError, match="of any layer"):
        city.back("v1")
    city.load("v1", 3, 4)
    city.load("v2", 13, 14)
    assert len(city.back("v1").moved) == 2
    assert sql("SELECT (SELECT count(*) FROM poles), (SELECT count(*) FROM wires)") == [(3, 4)]


def test_one_blocked_layer_holds_back_all_and_the_next_time_all_go(city, sql, target):
    """The others' locks are given back, so that their readers do not wait."""
    with psycopg.connect(target.conninfo, application_name="slow map") as reader:
        reader.execute("SELECT count(*) FROM wires")
        with pytest.raises(
            PublishError, match="publishing public.masts, public.poles, public.wires.*slow map".capitalize()
        ):
            city.back("v1", publish_wait=timedelta(0))
        reader.rollback()
    assert sql(COUNTS) == [(23, 24, 25)]
    assert layer_pins(target) == {}
    failed = sql("SELECT layer_name FROM postgres_sync.sync_status WHERE status = 'FAILED' ORDER BY 1")
    assert failed == [("masts",), ("poles",), ("wires",)]
    city.back("v1")
    assert sql(COUNTS) == [(3, 4, 5)]


def test_readers_of_all_layers_see_one_release_or_the_other(city, target):
    """Two layers in one statement, again and again until the transaction is through, with a slow reader in its way."""
    seen: set[tuple] = set()
    stop = threading.Event()

    def read() -> None:
        with psycopg.connect(target.conninfo, autocommit=True) as reader:
            while not stop.is_set():
                seen.add(reader.execute(COUNTS).fetchone())

    with psycopg.connect(target.conninfo) as slow:
        slow.execute("SELECT count(*) FROM masts")
        readers = [threading.Thread(target=read) for _ in range(2)]
        for thread in readers:
            thread.start()

        class Log(list):
            def append(self, line: str) -> None:
                super().append(line)
                slow.rollback()

        city.log = Log()
        city.back("v1")
        stop.set()
        for thread in readers:
            thread.join()
    assert any(line.startswith("publishing public.masts, public.poles, public.wires waits for") for line in city.log)
    assert seen <= {(23, 24, 25), (3, 4, 5)}
    assert (23, 24, 25) in seen


class Noting(psycopg.Connection):
    """A session that notes what it sends, a text a round trip."""

    def execute(self, query, *more, **others):
        self.sent = [*getattr(self, "sent", []), query if isinstance(query, str) else query.as_string()]
        return super().execute(query, *more, **others)


def test_what_readers_meet_goes_to_the_server_in_one_round_trip(city, sql, target):
    """With BEGIN and COMMIT; all locks and swaps are one statement, whose time-outs bound them together."""
    with Noting.connect(target.conninfo, autocommit=True) as session:
        publications = []
        for table in TABLES:
            layer = Layer("public", table)
            version = next(each for each in Version.known(session, layer) if each.release_tag == "v1")
            ((lease, oid),) = sql(
                "SELECT lease, %s::regclass::oid FROM postgres_sync.layer_leases WHERE layer_name = %s",
                table.name, table.name,
            )  # fmt: skip
            entry = open_entry(session, layer, "ROLLBACK")
            held = Lease(schema="public", name=table.name, number=lease)
            publications.append(Publication(layer, Public(oid), version, held, entry, pin="by hand"))
        publish(session, target, publications, LoadOptions().patience(city.log.append))
        (met,) = [text for text in session.sent if "ALTER TABLE" in text or "LOCK TABLE" in text]
    assert met.count("DO $$") == 1
    assert met.startswith("\nBEGIN; SET LOCAL lock_timeout")
    assert met.endswith("COMMIT")
    assert (met.count("DETACH"), met.count("ATTACH PARTITION")) == (3, 3)
    assert sql(COUNTS) == [(3, 4, 5)]


def test_a_layer_that_is_being_loaded_holds_back_all(city, sql, target):
    with someone_else(target.conninfo, name=TABLES[0].name), pytest.raises(BusyError):
        city.back("v1", publish_wait=timedelta(0))
    assert sql(COUNTS) == [(23, 24, 25)]
    assert layer_pins(target) == {}
