"""Publishing under readers: nobody sees an empty or mixed table or waits for long, and nothing of theirs is lost."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from flux_assets.errors import LayerError, PublishError, RecordError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import rollback
from flux_assets.postgis.session import Target
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

SMALL, LARGE = 2_000, 3_000


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    """A loader with a published version of 2,000 rows and what users put around the public table."""
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    loader.load(made_up(), rows(SMALL))
    return loader


class Readers:
    """Connections that go on reading until told to stop, and note every answer that is not one of two row counts."""

    def __init__(self, target: Target, questions: dict[str, str], role: str | None = None) -> None:
        self.wrong: list[tuple[str, object]] = []
        self.answers = 0
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._read, args=(target, name, question, role))
            for name, question in questions.items()
        ]

    def _read(self, target: Target, name: str, question: str, role: str | None) -> None:
        try:
            with psycopg.connect(target.conninfo, autocommit=True) as connection:
                connection.prepare_threshold = 0
                if role:
                    connection.execute(f"SET ROLE {role}")
                while not self._done.is_set():
                    answer = connection.execute(question).fetchone()
                    self.answers += 1
                    if answer[0] not in (SMALL, LARGE):
                        self.wrong.append((name, answer))
        except Exception as error:  # noqa: BLE001 - any error of a reader is a finding
            self.wrong.append((name, error))

    @contextmanager
    def reading(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._done.set()
            for thread in self._threads:
                thread.join()


def test_readers_of_every_kind_see_one_version_or_the_other(loader: Loader, sql: Sql, target: Target) -> None:
    """Twenty publishes under a counting reader, a prepared statement, a view, a BEGIN ATOMIC function, a plain role."""
    sql("CREATE VIEW all_poles AS SELECT * FROM poles")
    sql("CREATE FUNCTION pole_count() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM poles; END")
    sql("CREATE INDEX ON poles (score, name)")
    loader.load(made_up(), rows(LARGE))
    readers = Readers(
        target,
        {
            "count": "SELECT count(*) FROM poles",
            "view": "SELECT count(*) FROM all_poles",
            "function": "SELECT pole_count()",
            "box": "SELECT count(*) FROM poles WHERE geom && ST_MakeEnvelope(-180, -90, 180, 90, 4326)",
            "join": "SELECT count(*) FROM poles a JOIN poles b USING (id)",
        },
    )
    plain = Readers(target, {"plain role": "SELECT count(*) FROM poles"}, role="flux_reader")
    with readers.reading(), plain.reading():
        for _ in range(20):
            rollback(made_up(), target, LoadOptions(), loader.log.append)
    assert readers.wrong == plain.wrong == []
    assert readers.answers > 20
    assert plain.answers > 20


def test_what_users_made_survives(loader: Loader, sql: Sql, reader_sql: Sql) -> None:
    sql("CREATE VIEW all_poles AS SELECT * FROM poles")
    sql("CREATE FUNCTION pole_count() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM poles; END")
    sql("CREATE INDEX mine ON poles (lower(name)) WHERE code > 5")
    sql("ALTER TABLE poles ADD CONSTRAINT positive CHECK (code >= 0)")
    sql("CREATE TABLE kinds (code int PRIMARY KEY)")
    sql(f"INSERT INTO kinds SELECT generate_series(0, {LARGE})")
    sql("ALTER TABLE poles ADD CONSTRAINT known FOREIGN KEY (code) REFERENCES kinds (code)")
    sql("ALTER TABLE poles ALTER COLUMN score SET NOT NULL")
    loader.load(made_up(), rows(LARGE))
    assert sql("SELECT count(*), pole_count() FROM all_poles") == [(LARGE, LARGE)]
    assert reader_sql("SELECT count(*) FROM poles") == [(LARGE,)]
    attached = sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'mine'::regclass")
    assert attached == [(1,)]
    names = sql(
        "SELECT conname FROM pg_constraint WHERE conrelid = 'poles'::regclass AND contype IN ('c', 'f') ORDER BY 1"
    )
    assert names == [("known",), ("positive",)]


def test_a_users_unique_constraint_on_the_public_table_is_kept(loader: Loader, sql: Sql) -> None:
    sql("ALTER TABLE poles ADD CONSTRAINT twice UNIQUE (id, code)")
    loader.load(made_up(), rows(LARGE))
    assert sql("SELECT count(*) FROM poles") == [(LARGE,)]


def test_data_that_breaks_a_users_constraint_is_not_published(loader: Loader, sql: Sql) -> None:
    sql("ALTER TABLE poles ADD CONSTRAINT low CHECK (code < 2500)")
    with pytest.raises(RecordError, match=r'poles.csv.gz, line 2502: PostgreSQL refuses it: .*constraint "low"'):
        loader.load(made_up(), rows(LARGE))
    assert sql("SELECT count(*) FROM poles") == [(SMALL,)]


def test_an_inbound_foreign_key_is_named_before_anything_is_staged(loader: Loader, sql: Sql) -> None:
    sql("CREATE TABLE notes (pole varchar(20) REFERENCES poles (id))")
    with pytest.raises(LayerError, match=r"Foreign keys point at public.poles.*notes \(notes_pole_fkey\)"):
        loader.load(made_up(), rows(LARGE))
    assert sql("SELECT count(*) FROM poles") == [(SMALL,)]


def test_an_index_added_while_a_version_waited_is_built_before_the_swap(
    loader: Loader, sql: Sql, target: Target
) -> None:
    loader.load(made_up(), rows(LARGE))
    sql("CREATE INDEX late ON poles (score)")
    rollback(made_up(), target, LoadOptions(), loader.log.append)
    assert sql("SELECT count(*) FROM poles") == [(SMALL,)]
    assert sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'late'::regclass") == [(1,)]


def test_a_snapshot_taken_before_sees_full_rows_afterwards(loader: Loader, sql: Sql, target: Target) -> None:
    """FREEZE: a REPEATABLE READ snapshot older than the version sees it whole, not empty."""
    sql("CREATE TABLE other AS SELECT 1 AS one")
    with psycopg.connect(target.conninfo) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT * FROM other")
        loader.load(made_up(), rows(LARGE))
        assert reader.execute("SELECT count(*) FROM poles").fetchone() == (LARGE,)


def test_a_transaction_that_has_read_the_table_delays_the_publish(loader: Loader, sql: Sql, target: Target) -> None:
    with psycopg.connect(target.conninfo, application_name="slow map") as reader:
        reader.execute("SELECT count(*) FROM poles")
        with _once(loader, "publishing public.poles waits for", reader.rollback):
            assert loader.load(made_up(), rows(LARGE)).outcome == "published"
    assert any("slow map" in line for line in loader.log)
    assert sql("SELECT count(*) FROM poles") == [(LARGE,)]


def test_a_publish_that_waits_too_long_is_finished_by_the_next_run(loader: Loader, sql: Sql, target: Target) -> None:
    with psycopg.connect(target.conninfo, application_name="slow map") as reader:
        reader.execute("SELECT count(*) FROM poles")
        user, pid = reader.info.user, reader.info.backend_pid
        said = rf"process {pid} \(user {user}, application slow map, idle in transaction, transaction open for \d+ s\)"
        with pytest.raises(PublishError, match=said):
            loader.load(made_up(), rows(LARGE), publish_wait=timedelta(seconds=0))
        assert reader.execute("SELECT count(*) FROM poles").fetchone() == (SMALL,)
    before = sql("SELECT count(*) FROM postgres_sync.layer_versions")
    assert loader.load(made_up()).outcome == "published"
    assert sql("SELECT count(*) FROM poles") == [(LARGE,)]
    assert sql("SELECT count(*) FROM postgres_sync.layer_versions") == before
    assert sql("SELECT sync_type, status FROM postgres_sync.sync_status ORDER BY sync_id DESC LIMIT 2") == [
        ("PUBLISH", "SUCCESS"), ("FULL", "FAILED")]  # fmt: skip


def test_new_readers_are_served_while_a_publish_waits(loader: Loader, target: Target) -> None:
    """The swap gives its place in the queue up after 50 ms, so readers who come later are not stuck behind it."""
    with psycopg.connect(target.conninfo) as slow, psycopg.connect(target.conninfo, autocommit=True) as newcomer:
        slow.execute("SELECT count(*) FROM poles")
        counts: list[object] = []

        def newcomer_reads() -> None:
            newcomer.execute("SET statement_timeout = '5s'")
            counts.append(newcomer.execute("SELECT count(*) FROM poles").fetchone())
            slow.rollback()

        with _once(loader, "publishing public.poles waits for", newcomer_reads):
            loader.load(made_up(), rows(LARGE))
    assert counts == [(SMALL,)]


def test_a_process_that_wakes_up_late_does_not_overwrite(loader: Loader, sql: Sql, target: Target) -> None:
    """Its lease is older: the newer load has published, the late one must not."""
    late = Loader(target, ReleaseFolder(loader.source.folder.parent / "late"))

    with psycopg.connect(target.conninfo) as reader:
        reader.execute("SELECT count(*) FROM poles")

        def wake() -> None:
            sql("UPDATE postgres_sync.layer_leases SET lease = lease + 1")
            reader.rollback()

        with _once(late, "publishing public.poles waits for", wake), pytest.raises(PublishError, match="another load"):
            late.load(made_up(), rows(LARGE))
    assert sql("SELECT count(*) FROM poles") == [(SMALL,)]


def test_two_loads_at_once_publish_one_version(loader: Loader, sql: Sql, target: Target) -> None:
    loader.source.write(made_up(), rows(LARGE))
    twin = Loader(target, loader.source)
    outcomes: list[str] = []
    threads = [
        threading.Thread(target=lambda one=one: outcomes.append(one.load(made_up()).outcome)) for one in (loader, twin)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["published", "unchanged"]
    assert sql("SELECT count(*) FROM poles") == [(LARGE,)]


@contextmanager
def _once(loader: Loader, beginning: str, action: Callable[[], None]) -> Iterator[None]:
    """Do something the first time a line that begins so is logged: a point in the protocol, not in time."""
    done: list[bool] = []

    class Log(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if line.startswith(beginning) and not done:
                done.append(True)
                action()

    loader.log = Log(loader.log)
    yield
    assert done, f"nothing logged began with {beginning!r}"
