"""Faults of the database: each a clear error, nothing published is lost, and the next good run needs no manual step."""

import gzip
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql as psql
from psycopg.conninfo import make_conninfo

from flux_assets.errors import FluxError, LayerError, TargetError
from flux_assets.postgis import session
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.sample.cluster import Cluster
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

pytestmark = pytest.mark.bare


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


class DuringStage(Stop):
    """Does something when the first batch is about to be written: a point in the protocol, not in time."""

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__()
        self._action: Callable[[], object] | None = action

    def check(self) -> None:
        with self._lock:
            staging = any(
                "stage" in connection.info.get_parameters().get("application_name", "")
                for connection in self._connections
            )
        if staging and self._action is not None:
            action, self._action = self._action, None
            action()
        super().check()


def elsewhere(target: Target, **changed: object) -> Target:
    return Target(conninfo=make_conninfo(target.conninfo, **changed), schema=target.schema)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"host": "127.0.0.1", "port": 1}, "Connection refused|connection failed"),
        ({"host": "no-such-host.invalid", "sslmode": "require"}, "resolve|No address|not known|Temporary failure"),
    ],
)
def test_a_target_that_cannot_be_reached(loader: Loader, changed: dict[str, object], said: str) -> None:
    with pytest.raises(TargetError, match=f"cannot be reached: (.|\n)*({said})(.|\n)*flux-assets doctor") as caught:
        Loader(elsewhere(loader.target, **changed), loader.source).load(made_up(), rows(5))
    assert psycopg.conninfo.conninfo_to_dict(loader.target.conninfo)["password"] not in str(caught.value)


def test_a_database_without_postgis(loader: Loader, cluster: Cluster) -> None:
    cluster.ensure_plain_database("without_postgis")
    with pytest.raises(TargetError, match=r"PostGIS is not installed in database without_postgis.*CREATE EXTENSION"):
        Loader(Target(conninfo=cluster.conninfo("without_postgis")), loader.source).load(made_up(), rows(5))


def test_a_server_that_is_too_old(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_OLDEST_SERVER", 990000)
    with pytest.raises(TargetError, match=r"PostgreSQL \d+; flux_assets needs 15 or newer"):
        loader.load(made_up(), rows(5))


@pytest.fixture
def stranger(cluster: Cluster, target: Target, admin_sql: Sql) -> Iterator[Target]:
    """The database as a role sees it that may only log in."""
    admin_sql("CREATE ROLE stranger LOGIN PASSWORD 'stranger'")
    yield elsewhere(target, user="stranger", password="stranger")
    admin_sql("DROP OWNED BY stranger")
    admin_sql("DROP ROLE stranger")


def test_a_role_that_may_create_nothing(loader: Loader, stranger: Target) -> None:
    with pytest.raises(
        TargetError, match=r'may not create the schemas .*GRANT CREATE ON DATABASE "test_.*" TO "stranger"'
    ):
        Loader(stranger, loader.source).load(made_up(), rows(5))


def test_a_role_that_may_not_touch_the_layer(loader: Loader, stranger: Target, sql: Sql, admin_sql: Sql) -> None:
    loader.load(made_up(), rows(5))
    for schema in ("postgres_sync", "flux_versions"):
        admin_sql(f"GRANT ALL ON SCHEMA {schema} TO stranger")
        admin_sql(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO stranger")
    with pytest.raises(TargetError, match=r"lacks a right: .*poles"):
        Loader(stranger, loader.source).load(made_up(), rows(6))
    assert sql("SELECT count(*) FROM poles") == [(5,)]
    assert sql("SELECT status FROM postgres_sync.sync_status ORDER BY sync_id DESC LIMIT 1") == [("FAILED",)]


def test_sessions_that_are_cut_off_half_way(loader: Loader, sql: Sql) -> None:
    """The ledger's row becomes FAILED, the half-made version is gone, the next run works."""
    loader.load(made_up(), rows(5))

    def cut() -> None:
        sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'flux_assets%'")  # fmt: skip

    with pytest.raises(FluxError, match=r"an administrator ended the session|connection to the database was lost"):
        loader.load(made_up(), rows(3000), stop=DuringStage(cut))
    assert sql("SELECT count(*) FROM poles") == [(5,)]
    assert sql("SELECT status FROM postgres_sync.sync_status ORDER BY sync_id DESC LIMIT 1") == [("FAILED",)]
    assert loader.load(made_up(), rows(6)).outcome == "published"
    assert sql(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'flux_versions'::regnamespace AND relkind = 'r'"
    ) == [(2,)]


def test_a_server_that_dies_half_way(tmp_path: Path) -> None:
    """The ledger cannot be reached then; the error says so, and the next run closes the RUNNING row."""
    cluster = Cluster(tmp_path / "home")
    try:
        cluster.ensure_map_database()
        loader = Loader(Target(conninfo=cluster.conninfo()), ReleaseFolder(tmp_path / "v1"))
        loader.load(made_up(), rows(5))
        with pytest.raises(FluxError) as caught:
            loader.load(made_up(), rows(3000), stop=DuringStage(cluster.stop))
        assert "closed by the next run" in " ".join(caught.value.__notes__)
        cluster.start()
        loader = Loader(Target(conninfo=cluster.conninfo()), loader.source)
        loader.load(made_up())
        with psycopg.connect(cluster.conninfo()) as connection:
            assert connection.execute("SELECT count(*) FROM poles").fetchone() == (3000,)
            statuses = connection.execute("SELECT status FROM postgres_sync.sync_status ORDER BY sync_id").fetchall()
        assert statuses == [("SUCCESS",), ("FAILED",), ("SUCCESS",)]
    finally:
        cluster.remove()


@pytest.fixture
def small_disk(tmp_path: Path, sql: Sql, admin_sql: Sql, database: str) -> Iterator[None]:
    """A tablespace with 1 MB for whatever is made in the database from now on.

    On a file system of that size where one can be mounted; elsewhere the server is made to say the same by a CHECK
    constraint, which any row of the public table passes on to its version.
    """
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        sql("CREATE FUNCTION full_disk(int) RETURNS boolean LANGUAGE plpgsql AS"
            " $$ BEGIN IF $1 > 100 THEN RAISE 'No space left on device' USING ERRCODE = 'disk_full'; END IF;"
            " RETURN true; END $$")  # fmt: skip
        sql("ALTER TABLE poles ADD CONSTRAINT disk CHECK (full_disk(code))")
        yield
        return
    try:
        subprocess.run(["chown", "postgres", place], check=True)
        for folder in [tmp_path, *tmp_path.parents][: -len(Path(tempfile.gettempdir()).parents) - 1]:
            folder.chmod(folder.stat().st_mode | 0o755)  # pytest's folders are private; the server must pass through
        admin_sql(
            psql.SQL("CREATE TABLESPACE {} LOCATION {}").format(psql.Identifier(database), psql.Literal(str(place)))
        )
        admin_sql(psql.SQL("GRANT CREATE ON TABLESPACE {} TO PUBLIC").format(psql.Identifier(database)))
        admin_sql(psql.SQL("ALTER DATABASE {0} SET default_tablespace = {0}").format(psql.Identifier(database)))
        yield
        admin_sql(psql.SQL("ALTER DATABASE {} RESET default_tablespace").format(psql.Identifier(database)))
        for (name,) in sql("SELECT relname FROM pg_class WHERE relkind IN ('r', 'i') AND reltablespace <> 0"
                           " AND relnamespace = 'flux_versions'::regnamespace AND relkind = 'r'"):  # fmt: skip
            sql(psql.SQL("DROP TABLE flux_versions.{}").format(psql.Identifier(name)))
        admin_sql(psql.SQL("DROP TABLESPACE {}").format(psql.Identifier(database)))
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_full_disk(loader: Loader, sql: Sql, request: pytest.FixtureRequest) -> None:
    loader.load(made_up(), rows(50))
    request.getfixturevalue("small_disk")
    with pytest.raises(TargetError, match=r"disk is full: .*No space left on device"):
        loader.load(made_up(), rows(30_000))
    assert sql("SELECT count(*) FROM poles") == [(50,)]
    assert sql("SELECT status FROM postgres_sync.sync_status ORDER BY sync_id DESC LIMIT 1") == [("FAILED",)]
    assert loader.load(made_up(), rows(60)).outcome == "published"


def test_more_disk_than_allowed_is_refused_before_the_first_byte(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(5))
    before = sql("SELECT max(lease) FROM postgres_sync.layer_versions")
    with pytest.raises(
        LayerError, match=r"needs about .* MB of disk \(stage .*, WAL .*more than FLUX_DISK_LIMIT = 1 MB"
    ):
        loader.load(made_up(), rows(50_000), disk_limit=1_000_000)
    assert sql("SELECT max(lease) FROM postgres_sync.layer_versions") == before
    assert sql("SELECT count(*) FROM poles") == [(5,)]


def test_a_file_that_expands_beyond_the_limit_is_stopped(loader: Loader, sql: Sql) -> None:
    """The estimate is made from the file's beginning; a file whose beginning misleads is stopped at the limit."""
    dense = "".join(f"{n},{n},{os.urandom(25).hex()},,,,,\n" for n in range(125_000))
    endless = "1,1,,,,,,\n" * 4_000_000
    header = ",".join(made_up().column_names) + "\n"
    loader.source.write_raw(made_up(), gzip.compress((header + dense).encode()) + gzip.compress(endless.encode()))
    with pytest.raises(LayerError, match=r"has written .* bytes, more than .*FLUX_DISK_LIMIT"):
        loader.load(made_up(), disk_limit=60_000_000)
    assert sql("SELECT to_regclass('poles')") == [(None,)]
