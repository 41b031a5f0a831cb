"""The embedded cluster comes up for whoever asks, however its last life ended, and says why when it cannot."""

import os
import resource
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import psycopg
import pytest

from flux_assets.errors import EmbeddedError
from flux_assets.sample.cluster import Cluster
from flux_assets.sample.layout import ELSEWHERE
from flux_assets.sample.os_user import server_account

HOSTILE = {
    "PGHOST": "nowhere.invalid", "PGHOSTADDR": "192.0.2.1", "PGPORT": "1", "PGUSER": "nobody", "PGPASSWORD": "wrong",
    "PGDATABASE": "none", "PGPASSFILE": "/dev/null", "PGOPTIONS": "-c search_path=evil", "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": "system", "PGSSLCERT": "/none", "PGSSLMINPROTOCOLVERSION": "none", "PGREQUIREPEER": "none",
    "PGREQUIREAUTH": "none", "PGCHANNELBINDING": "require", "PGGSSENCMODE": "require", "PGCLIENTENCODING": "LATIN1",
    "PGTARGETSESSIONATTRS": "standby", "PGSSLNEGOTIATION": "direct", "PGMINPROTOCOLVERSION": "3.2",
    "PGMAXPROTOCOLVERSION": "2.0", "PGLOADBALANCEHOSTS": "none", "PGSSLCERTMODE": "none", "PGTZ": "Asia/Tokyo",
    "PGDATESTYLE": "German", "PGDATA": "/none",
}  # fmt: skip


def python(code: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
    """A process of its own that runs some lines with `Cluster` at hand."""
    head = "import sys\nfrom pathlib import Path\nfrom flux_assets.sample.cluster import Cluster\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + dedent(code), *arguments], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
    )  # fmt: skip


def one(conninfo: str, statement: str) -> object:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        return connection.execute(statement).fetchone()[0]


def keep_seven(cluster: Cluster) -> None:
    with psycopg.connect(cluster.conninfo(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")


def postmaster(cluster: Cluster) -> int:
    return int((cluster.data / "postmaster.pid").read_text().split()[0])


def test_starts_once_and_keeps_its_data_over_a_restart(new_home: Path) -> None:
    cluster = Cluster(new_home)
    assert not cluster.running()
    cluster.ensure_map_database()
    before, address = postmaster(cluster), cluster.tcp_url()
    keep_seven(cluster)
    cluster.ensure_map_database()
    assert postmaster(cluster) == before
    cluster.stop()
    assert not cluster.running()
    cluster.stop()
    cluster.start()
    assert cluster.running()
    assert one(cluster.conninfo(), "SELECT n FROM kept") == 7
    assert cluster.tcp_url() == address
    assert one(address, "SELECT n FROM kept") == 7
    assert one(cluster.conninfo(), "SHOW fsync") == "on"


def test_two_processes_at_once_make_one_server(new_home: Path) -> None:
    code = """
        cluster = Cluster(Path(sys.argv[1]))
        cluster.ensure_map_database()
        cluster.ensure_plain_database()
        print((cluster.data / "postmaster.pid").read_text().split()[0])
    """
    racers = [python(code, str(new_home)) for _ in range(3)]
    said = [racer.communicate()[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0], said
    assert {text.strip() for text in said} == {str(postmaster(Cluster(new_home)))}


def test_outlives_the_process_that_started_it_and_its_ctrl_c(new_home: Path) -> None:
    code = """
        Cluster(Path(sys.argv[1])).start()
        print("started", flush=True)
        sys.stdin.read()
    """
    starter = python(code, str(new_home), stdin=subprocess.PIPE, start_new_session=True)
    assert starter.stdout.readline() == "started\n"
    os.killpg(starter.pid, signal.SIGINT)
    starter.communicate()
    assert starter.returncode != 0
    assert Cluster(new_home).running()


def test_comes_back_after_kill_9_of_the_server(new_home: Path) -> None:
    cluster = Cluster(new_home)
    cluster.ensure_map_database()
    keep_seven(cluster)
    first = postmaster(cluster)
    busy = psycopg.connect(cluster.conninfo())
    # Too busy to notice that its server died: it still holds the shared memory when the next server starts.
    busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 4000000)")
    os.kill(first, signal.SIGKILL)
    while cluster.running():  # the kernel takes its time
        pass
    cluster.start()
    busy.close()
    assert postmaster(cluster) != first
    assert one(cluster.conninfo(), "SELECT n FROM kept") == 7


def test_a_process_number_used_again_after_a_reboot_does_not_stop_it(new_home: Path) -> None:
    cluster = Cluster(new_home)
    cluster.start()
    left_behind = (cluster.data / "postmaster.pid").read_text().splitlines()
    cluster.stop()
    account = server_account(cluster.data)
    with subprocess.Popen(["sleep", "600"], user=account.uid if account.other else None) as stranger:
        (cluster.data / "postmaster.pid").write_text("\n".join([str(stranger.pid), *left_behind[1:]]) + "\n")
        account.own(cluster.data / "postmaster.pid")
        socket_lock = cluster.data.parent / "socket" / f".s.PGSQL.{left_behind[3]}.lock"
        socket_lock.write_text(f"{stranger.pid}\n")
        account.own(socket_lock)
        assert not cluster.running()
        cluster.start()
        assert cluster.running()
        cluster.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_moves_to_another_port_when_its_own_is_taken(new_home: Path) -> None:
    cluster = Cluster(new_home)
    cluster.ensure_map_database()
    url = cluster.tcp_url()
    cluster.stop()
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # somebody else took it in this moment, which is as good
            squatter.bind(("127.0.0.1", int(url.rsplit(":", 1)[1].partition("/")[0])))
            squatter.listen()
        cluster.start()
        assert cluster.tcp_url() != url
        assert one(cluster.tcp_url(), "SELECT 1") == 1
    assert one(cluster.conninfo(), "SELECT 1") == 1


def test_starts_again_when_its_socket_was_cleaned_away(new_home: Path) -> None:
    cluster = Cluster(new_home)
    cluster.ensure_map_database()
    for path in (cluster.data.parent / "socket").iterdir():
        path.unlink()
    assert not cluster.running()
    cluster.start()
    assert one(cluster.conninfo(), "SELECT 1") == 1


def test_a_deep_home_gets_a_short_socket(new_home: Path) -> None:
    cluster = Cluster(new_home / ("deep" * 30))
    try:
        cluster.ensure_map_database()
        assert one(cluster.conninfo(), "SELECT 1") == 1
        assert one(cluster.url(), "SELECT 1") == 1
    finally:
        cluster.remove()
    assert not cluster.data.exists()


def test_a_home_that_the_servers_user_cannot_reach(tmp_path: Path) -> None:
    """As root, whose folders nobody else may enter, the data lies elsewhere; another user's stays where it is."""
    tmp_path.chmod(0o700)
    cluster = Cluster(tmp_path / "home")
    try:
        cluster.ensure_map_database()
        assert one(cluster.conninfo(), "SELECT 1") == 1
        assert cluster.data.is_relative_to(ELSEWHERE if os.geteuid() == 0 else tmp_path)
        assert cluster.log.is_relative_to(tmp_path)
        assert Cluster(tmp_path / "home").running()
    finally:
        cluster.remove()
    assert not cluster.data.parent.exists()


def test_secrets_and_data_are_for_their_owner_alone(cluster: Cluster) -> None:
    assert (cluster.home / "postgres" / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert cluster.data.stat().st_mode & 0o777 == 0o700
    wrong = psycopg.conninfo.make_conninfo(cluster.conninfo("postgres"), password="guess")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_a_full_disk_while_it_is_made(new_home: Path) -> None:
    """A file-size limit fails the same writes as a full disk. What was half made is gone, and the next start works."""
    code = """
        try:
            Cluster(Path(sys.argv[1])).start()
        except Exception as error:
            print(type(error).__name__, error)
    """

    def small_files_only() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))

    said, _ = python(code, str(new_home), preexec_fn=small_files_only).communicate()
    assert said.startswith("EmbeddedError The embedded PostGIS cluster could not be made. Its log says:")
    assert "File too large" in said
    assert f"Free disk space under {new_home}" in said
    assert not Cluster(new_home).data.exists()
    Cluster(new_home).start()
    assert Cluster(new_home).running()


def test_a_server_that_cannot_start_shows_its_last_words(new_home: Path) -> None:
    cluster = Cluster(new_home)
    cluster.start()
    cluster.stop()
    (cluster.data / "global" / "pg_control").rename(cluster.data / "global" / "pg_control.away")
    with pytest.raises(EmbeddedError, match=r"does not start.*\n.*could not find the database system") as caught:
        cluster.start()
    assert str(cluster.log) in caught.value.remedy
    (cluster.data / "global" / "pg_control.away").rename(cluster.data / "global" / "pg_control")
    cluster.start()
    assert cluster.running()


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(EmbeddedError, match=r"cannot use .*home.*set FLUX_HOME"):
        Cluster(tmp_path / "home").start()


def test_a_database_whose_making_was_cut_short_is_made_again(cluster: Cluster) -> None:
    with cluster.admin_session() as admin:
        admin.execute("CREATE DATABASE torn_unfinished")
    cluster.ensure_map_database("torn")
    assert one(cluster.conninfo("torn"), "SELECT count(*) > 1000 FROM spatial_ref_sys") is True
    with cluster.admin_session() as admin:
        assert admin.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'torn%'").fetchone() == (1,)
        admin.execute("DROP DATABASE torn")


@pytest.mark.bare
def test_the_loader_is_no_superuser_and_the_reader_reads_public_tables_alone(sql, reader_sql) -> None:
    assert sql("SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user") == [
        (False,) * 3
    ]
    sql("CREATE SCHEMA flux_versions")
    sql("CREATE TABLE flux_versions.layer_v1 AS SELECT 1 AS n")
    sql("CREATE TABLE layer AS SELECT 1 AS n")
    assert reader_sql("SELECT n FROM layer") == [(1,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader_sql("SELECT n FROM flux_versions.layer_v1")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader_sql("DELETE FROM layer")


def test_no_libpq_variable_leads_it_astray(new_home: Path) -> None:
    """Making, starting and using the cluster, by both drivers, with every variable set to something that would fail."""
    code = """
        import psycopg, psycopg2, psycopg2.extensions
        cluster = Cluster(Path(sys.argv[1]))
        cluster.ensure_map_database()
        asked = "SELECT current_user, current_setting('search_path'), current_setting('timezone'), 'ß'"
        print(psycopg.connect(cluster.conninfo()).execute(asked).fetchone())
        cursor = psycopg2.connect(cluster.url(libpq_version=psycopg2.extensions.libpq_version())).cursor()
        cursor.execute(asked)
        print(cursor.fetchone())
    """
    said, _ = python(code, str(new_home), env=os.environ | HOSTILE | {"PGSERVICE": ""}).communicate()
    assert said.splitlines() == ["('flux', '\"$user\", public', 'UTC', 'ß')"] * 2


def test_a_service_that_does_not_exist_does_not_keep_it_from_starting(new_home: Path) -> None:
    code = "Cluster(Path(sys.argv[1])).ensure_map_database(); import os; print(os.environ['PGSERVICE'])"
    said, _ = python(code, str(new_home), env=os.environ | {"PGSERVICE": "none"}).communicate()
    assert said == "none\n"
