"""States of the server, each made for real, and the sentence with the remedy that is told of it.

What a role or a database can be given is set there; a standby, a server without room and one that crashes are
clusters of their own.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets.doctor import connection
from flux_assets.doctor.examination import examine
from flux_assets.errors import FluxError, LayerError, TargetError
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target, translated
from flux_assets.sample.cluster import Cluster
from flux_assets.sample.os_user import server_account
from flux_assets.settings import load_settings
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

pytestmark = pytest.mark.bare

SORTED = "SELECT count(*) FROM (SELECT g FROM generate_series(1, 100000) AS g ORDER BY md5(g::text)) AS sorted"
LOCKED = "SELECT count(pg_advisory_xact_lock(g)) FROM generate_series(1, 100000) AS g"
LARGE = "SELECT length(string_agg(repeat(g::text, 1000), '')) FROM generate_series(100000, 140000) AS g"


@pytest.fixture
def role(target: Target, admin_sql: Sql) -> Iterator[str]:
    """A role of the test's own that may load into the database."""
    name = f"loader_{uuid4().hex[:8]}"
    admin_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'word' IN ROLE {conninfo_to_dict(target.conninfo)['user']}")
    yield name
    admin_sql(f"DROP OWNED BY {name} CASCADE")
    admin_sql(f"DROP ROLE {name}")


@pytest.fixture
def as_role(target: Target, role: str) -> Target:
    return elsewhere(target, user=role, password="word")


def elsewhere(target: Target, **changed: object) -> Target:
    return Target(conninfo=make_conninfo(target.conninfo, **changed), schema=target.schema)


def told(
    target: Target,
    *statements: str,
    within: Callable[[psycopg.Connection], object] | None = None,
    stop: Stop | None = None,
) -> FluxError:
    """What is told of statements of which the server refuses the last; `within` happens before it."""

    def ask() -> None:
        with target.session("test") as session, translated(Layer(target.schema, made_up()).title, stop or Stop()):
            for statement in statements[:-1]:
                session.execute(statement)
            if within is not None:
                within(session)
            session.execute(statements[-1])

    with pytest.raises(FluxError) as caught:
        ask()
    return caught.value


def check(error: FluxError, problem: str, remedy: str) -> None:
    assert re.search(problem, error.problem), error.problem
    assert re.search(remedy, error.remedy), error.remedy


def gone(sql: Sql) -> Callable[[psycopg.Connection], None]:
    """Waits until the server has ended the session."""

    def wait(session: psycopg.Connection) -> None:
        deadline = time.monotonic() + 60
        while sql("SELECT pid FROM pg_stat_activity WHERE pid = %s", session.info.backend_pid):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    return wait


def test_temp_file_limit(as_role: Target, role: str, admin_sql: Sql) -> None:
    admin_sql(f"ALTER ROLE {role} SET temp_file_limit = '64kB'")
    check(
        told(as_role, "SET work_mem = '64kB'", SORTED),
        "more temporary files than temp_file_limit allows",
        "ALTER ROLE … SET temp_file_limit",
    )


@pytest.mark.parametrize(
    ("statements", "problem", "remedy"),
    [
        (["SET statement_timeout = 20", "SELECT pg_sleep(60)"], "longer than statement_timeout", "pg_stat_activity"),
        (["SELECT pg_cancel_backend(pg_backend_pid())"], "an administrator cancelled a statement", "pg_cancel_backend"),
        (["SELECT pg_terminate_backend(pg_backend_pid())"], "an administrator ended the session, or", "server is up"),
        (
            ["BEGIN", "SET TRANSACTION READ ONLY", "CREATE TABLE refused ()"],
            "takes no writes in this session: cannot execute CREATE TABLE in a read-only transaction",
            "name the primary.*default_transaction_read_only is on: `flux-assets doctor`",
        ),
        # Before PostgreSQL 17 there is no such time limit, and the server is made to say it.
        (
            ["DO $$ BEGIN RAISE 'terminating connection due to transaction timeout' USING ERRCODE = '25P04'; END $$"],
            "longer than transaction_timeout", "who sets transaction_timeout",
        ),
    ],
    ids=["statement_timeout", "cancelled", "terminated", "read-only transaction", "transaction_timeout"],
)  # fmt: skip
def test_what_ends_a_statement(target: Target, statements: list[str], problem: str, remedy: str) -> None:
    check(told(target, *statements), problem, remedy)


def test_our_own_stop_is_told_from_an_administrator(target: Target) -> None:
    stop = Stop()
    error = told(target, "SELECT pg_cancel_backend(pg_backend_pid())", within=lambda _: stop.request(), stop=stop)
    assert isinstance(error, LayerError)
    check(error, "stopped on request; what was there before stays", "")


def test_a_deadlock(target: Target) -> None:
    errors: list[TargetError] = []

    def ask(session: psycopg.Connection, number: int) -> None:
        try:
            with translated(Layer("public", made_up()).title, Stop()):
                session.execute("SELECT pg_advisory_xact_lock(%s)", [number])
        except TargetError as error:
            errors.append(error)

    with target.session("one") as one, target.session("other") as other:
        for session, number in ((one, 1), (other, 2)):
            session.execute("BEGIN")
            session.execute("SELECT pg_advisory_xact_lock(%s)", [number])
        waiting = Thread(target=ask, args=(one, 2))
        waiting.start()
        ask(other, 1)
        waiting.join()
    (error,) = errors
    check(error, "because of a deadlock", "Run again")


@pytest.mark.parametrize(
    ("statements", "problem"),
    [
        (["SET idle_in_transaction_session_timeout = 50", "BEGIN", "SELECT 1"], "this process was silent within a"),
        (["SET idle_session_timeout = 50", "SELECT 1"], "idle for longer than idle_session_timeout"),
    ],
    ids=["in a transaction", "idle"],
)
def test_sessions_that_the_server_ended_while_they_were_silent(
    target: Target, sql: Sql, statements: list[str], problem: str
) -> None:
    check(told(target, *statements, within=gone(sql)), problem, "a pooler sets idle_")


@pytest.mark.parametrize(
    ("changed", "problem", "remedy"),
    [
        ({"password": "wrong"}, "refuses the password or the user: .*password authentication", "Correct user and pass"),
        ({"password": "", "passfile": "/dev/null"}, "asks for a password and none is set", "PGPASSWORD"),
        ({"dbname": "nowhere"}, 'database does not exist: .*"nowhere"', "CREATE DATABASE"),
        ({"dbname": "template0"}, "lets nobody in", "ALLOW_CONNECTIONS true"),
        ({"host": "127.0.0.1", "sslmode": "require"}, "offers no TLS", "ssl = on"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else None,
)
def test_a_sign_in_that_is_refused(target: Target, changed: dict[str, object], problem: str, remedy: str) -> None:
    with pytest.raises(TargetError) as caught, elsewhere(target, **changed).session("test"):
        pass
    check(caught.value, problem, remedy)
    assert conninfo_to_dict(target.conninfo)["password"] not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem", "remedy"),
    [
        ("ALTER ROLE {role} NOLOGIN", "role may not sign in", "ALTER ROLE … LOGIN"),
        ("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC", "user may not connect to the", "GRANT CONNECT"),
        ("ALTER ROLE {role} CONNECTION LIMIT 0", "as many sessions as its connection limit", "ALTER ROLE … CONNECTION"),
        ("ALTER DATABASE {database} CONNECTION LIMIT 0", "database has as many sessions", "ALTER DATABASE … "),
    ],
    ids=["nologin", "connect", "limit of the role", "limit of the database"],
)  # fmt: skip
def test_a_role_that_is_not_let_in(
    target: Target, role: str, database: str, admin_sql: Sql, change: str, problem: str, remedy: str
) -> None:
    # A member of the owner may do what the owner may.
    admin_sql(f"CREATE ROLE {role}_alone LOGIN PASSWORD 'word'")
    try:
        alone = elsewhere(target, user=f"{role}_alone", password="word")
        with alone.session("test"):
            pass
        admin_sql(change.format(role=f"{role}_alone", database=database))
        with pytest.raises(TargetError) as caught, alone.session("test"):
            pass
    finally:
        admin_sql(f"DROP ROLE {role}_alone")
    check(caught.value, problem, remedy)


def test_a_role_that_pg_hba_rejects(as_role: Target, role: str, cluster: Cluster, admin_sql: Sql) -> None:
    rules = cluster.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all {role} reject\n{before}")

    def sign_in() -> None:
        """Until the server has read the file, which it does a moment later."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with as_role.session("test"):
                pass

    try:
        admin_sql("SELECT pg_reload_conf()")
        with pytest.raises(TargetError) as caught:
            sign_in()
    finally:
        rules.write_text(before)
        admin_sql("SELECT pg_reload_conf()")
    check(caught.value, "pg_hba.conf lets this user in neither from here nor in this way", "Add a line")


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ("ALTER ROLE {role} SET {name} = on", 'ALTER ROLE "{role}" RESET {name}'),
        ("ALTER DATABASE {database} SET {name} = on", 'ALTER DATABASE "{database}" RESET {name}'),
        (
            "ALTER ROLE {role} IN DATABASE {database} SET {name} = on",
            'ALTER ROLE "{role}" IN DATABASE "{database}" RESET {name}',
        ),
    ],
    ids=["role", "database", "both"],
)
def test_read_only_sessions_are_told_with_where_that_is_set(
    as_role: Target, role: str, database: str, admin_sql: Sql, sql: Sql, tmp_path: Path, change: str, remedy: str
) -> None:
    names = {"role": role, "database": database, "name": "default_transaction_read_only"}
    admin_sql(change.format(**names))
    loader = Loader(as_role, ReleaseFolder(tmp_path / "v1"))
    with pytest.raises(TargetError) as caught:
        loader.load(made_up(), rows(5))
    check(caught.value, "Sessions in the target database are read-only", re.escape(remedy.format(**names)))
    assert sql("SELECT to_regnamespace('flux_versions')") == [(None,)]
    admin_sql(remedy.format(**names))
    assert loader.load(made_up()).outcome == "published"


def test_a_connection_that_asks_for_read_only(target: Target, tmp_path: Path) -> None:
    target = elsewhere(target, options="-c default_transaction_read_only=on")
    with pytest.raises(TargetError) as caught:
        Loader(target, ReleaseFolder(tmp_path / "v1")).load(made_up(), rows(5))
    check(caught.value, "read-only", "remove it from the options in FLUX_POSTGRES_URL")


@pytest.fixture
def own(new_home: Path) -> Cluster:
    """A cluster of the test's own, with the map database."""
    cluster = Cluster(new_home)
    cluster.ensure_map_database()
    return cluster


def restarted(cluster: Cluster, **settings: object) -> Target:
    with cluster.admin_session() as admin:
        for name, value in settings.items():
            admin.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    cluster.stop()
    cluster.start()
    return Target(conninfo=cluster.conninfo())


def as_standby(cluster: Cluster) -> None:
    """Restart the server as a standby: with this file in it a cluster recovers until it is promoted."""
    file = cluster.data / "standby.signal"
    file.touch()
    os.chown(file, cluster.data.stat().st_uid, cluster.data.stat().st_gid)
    cluster.stop()
    cluster.start()


def found_by_doctor(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """What doctor finds wrong with the target, as one text."""
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.url())
    load_settings.cache_clear()
    return " ".join(
        f"{each.message} {each.remedy}" for each in examine([made_up()]) if each.outcome in {"failed", "warning"}
    )


def test_a_standby(own: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = Loader(Target(conninfo=own.conninfo()), ReleaseFolder(tmp_path / "v1"))
    loader.load(made_up(), rows(5))
    as_standby(own)
    loader = Loader(Target(conninfo=own.conninfo()), loader.source)
    with pytest.raises(TargetError) as caught:
        loader.load(made_up(), rows(6))
    check(caught.value, "The target server is a standby, which takes no writes", "Name the primary")
    check(told(loader.target, "CREATE TABLE refused ()"), "takes no writes in this session", "name the primary")
    assert "is a standby, which takes no writes" in found_by_doctor(own, monkeypatch)
    with pytest.raises(TargetError) as caught, elsewhere(loader.target, target_session_attrs="read-write").session("x"):
        pass
    check(caught.value, "None of the hosts takes writes", "promote a standby")
    with psycopg.connect(own.conninfo(admin=True), autocommit=True) as admin:
        admin.execute("SELECT pg_promote()")
    assert loader.load(made_up()).outcome == "published"


def test_a_server_that_recovers_and_lets_nobody_in(own: Cluster) -> None:
    with own.admin_session() as admin:
        admin.execute("ALTER SYSTEM SET hot_standby = off")
    as_standby(own)
    with pytest.raises(TargetError) as caught, Target(conninfo=own.conninfo()).session("test"):
        pass
    check(caught.value, "is starting up or recovering", "hot_standby = off never is: name the primary")


def test_a_server_without_room(own: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For sessions, for locks, for memory."""
    target = restarted(own, max_connections=6, superuser_reserved_connections=3, max_locks_per_transaction=10)
    check(told(target, LOCKED), "table of locks is full", "Raise max_locks_per_transaction")

    def little_memory(session: psycopg.Connection) -> None:
        prlimit = ["prlimit", f"--pid={session.info.backend_pid}", "--as=1:1"]
        with (tmp_path / "prlimit.log").open("wb") as log:
            assert server_account(own.data).run(prlimit, log) == 0

    check(told(target, LARGE, within=little_memory), "ran out of memory", "Lower work_mem and maintenance_work_mem")
    assert "max_connections, less those reserved" in found_by_doctor(own, monkeypatch)
    with ExitStack() as sessions:
        for number in range(3):
            sessions.enter_context(target.session(str(number)))
        with pytest.raises(TargetError) as caught, target.session("one more"):
            pass
    check(caught.value, "All connections of the target server are taken", "raise max_connections, or lower FLUX_PAR")


def test_a_server_of_which_a_process_crashes(own: Cluster) -> None:
    """What it says then comes as a warning, and the end of the connection is all that is an error."""
    target = Target(conninfo=own.conninfo())

    def crash(session: psycopg.Connection) -> None:
        with psycopg.connect(target.conninfo, autocommit=True) as other:
            os.kill(other.info.backend_pid, signal.SIGKILL)
            session.execute("SELECT pg_sleep(60)")

    check(
        told(target, "SELECT 1", within=crash),
        "the connection to the database was lost",
        "Run again when the server answers",
    )


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("ALTER ROLE {role} CONNECTION LIMIT 2", 'the connection limit of role "{role}" is 2'),
        ("ALTER DATABASE {database} CONNECTION LIMIT 3", 'the connection limit of database "{database}" is 3'),
        ("ALTER ROLE {role} SET temp_file_limit = '2MB'", "temp_file_limit is 2 MB"),
    ],
    ids=["role", "database", "temporary files"],
)
def test_doctor_finds_limits(
    as_role: Target, role: str, database: str, admin_sql: Sql, change: str, found: str
) -> None:
    def said() -> dict[str, str]:
        with as_role.session("test") as session:
            return {each.message: each.outcome for each in connection.limits(session, 1)}

    assert list(said().values()) == ["ok"]
    names = {"role": role, "database": database}
    admin_sql(change.format(**names))
    assert [outcome for text, outcome in said().items() if text.startswith(found.format(**names))] in (
        ["warning"],
        ["note"],
    )
