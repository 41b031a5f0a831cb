"""What all cases share: a private cluster that may be stopped, a database to copy, release files and sources in three
states, each with what the oracle expects of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets.postgis.session import Target
from flux_assets.sample import binaries
from flux_assets.sample.cluster import OWNER, Cluster
from flux_assets.sample.os_user import server_account
from flux_assets.snowflake.account import Account
from flux_assets_tests.faults.child import COMPUTED, GIVEN_BACK, PLAIN, SECOND, Kind
from flux_assets_tests.faults.oracle import (
    CONTROL_ROWS,
    Fault,
    State,
    hung_on_state,
    keyed,
    layer_state,
    release_state,
    sync_state,
)
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.synced import SOURCE, Utility, source_database

BARE, TEMPLATE = "flux_bare", "flux_before_a_fault"
# The states, in their order: what a rollback brings back, what is published before a case, what its run brings, and
# what a later run brings.
BEFORE, OLD, NEW, NEWER = STATES = range(4)
_CONTROL = """
CREATE TABLE control (id integer PRIMARY KEY, note text);
INSERT INTO control SELECT n, md5(n::text) FROM generate_series(1, 3000) AS n;
CREATE TABLE other AS SELECT 1 AS one;
GRANT SELECT ON control, other TO flux_reader;
ANALYZE control
"""
# A table of another loader, with the rows that the layer has by then.
_PLAIN = """
CREATE TABLE {0} AS SELECT * FROM poles;
ALTER TABLE {0} ADD PRIMARY KEY (id);
CREATE VIEW {0}_seen AS SELECT id, code FROM {0};
CREATE MATERIALIZED VIEW {0}_tally AS SELECT id, code FROM {0};
GRANT SELECT ON {0}, {0}_seen, {0}_tally TO flux_reader
"""
# A copy of a sequence that is ahead of what the WAL has of it goes back when PostgreSQL crashes: let none be ahead.
_SEQUENCES = """
SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, last_value) FROM pg_sequences
WHERE last_value IS NOT NULL
"""


@dataclass
class World:
    """One per process that runs cases."""

    home: Path
    accounts: list[Account]
    cluster: Cluster = field(init=False)
    releases: list[Path] = field(init=False)
    states: dict[Kind, list[State]] = field(init=False)

    @classmethod
    def made(cls, home: Path, server: Account) -> World:
        """A cluster with a template database, in which the old states are published and synced."""
        world = cls(home=home, accounts=[])
        world.cluster = Cluster(home)
        world.cluster.ensure_map_database(BARE)
        world.releases = [_release(home / "releases", state) for state in STATES]
        layer = [layer_state(file) for file in world.releases]
        release = [release_state(file, file.with_name(SECOND.file_name)) for file in world.releases]
        utilities = [Utility(account=source_database(server), target=Target(conninfo="")) for _ in STATES]
        world.accounts = [utility.account for utility in utilities]
        synced = [_told(utility, state) for state, utility in enumerate(utilities)]
        world.states = {
            "load": layer, "rollback": layer, "release": release, "sync": synced, "replace": synced,
            "compute": [layer_state(file, COMPUTED.name) for file in world.releases],
            "adopt": [hung_on_state(file, PLAIN.name) for file in world.releases],
            "eject": [hung_on_state(file, GIVEN_BACK.name) for file in world.releases],
        }  # fmt: skip
        world._make_template(utilities[OLD])
        return world

    @contextmanager
    def database(self) -> Iterator[str]:
        """A database of one case's own, in the old states."""
        name = f"case_{uuid4().hex[:12]}"
        self._copy(TEMPLATE, name)
        try:
            yield name
        finally:
            self.drop(name)

    @contextmanager
    def restored(self) -> Iterator[str]:
        """The same, dumped by pg_dump and restored by pg_restore."""
        dump, name = self.scratch() / "case.dump", f"case_{uuid4().hex[:12]}"
        with self.database() as original:
            self.run_as_server("pg_dump", "-Fc", "-f", str(dump), "-d", self.for_programs(original))
        self._copy("template0", name)
        try:
            self.run_as_server("pg_restore", "--exit-on-error", "-d", self.for_programs(name), str(dump))
            yield name
        finally:
            self.drop(name)

    def drop(self, name: str) -> None:
        with self.cluster.admin_session() as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} (FORCE)").format(sql.Identifier(name)))

    def conninfo(self, database: str, *, admin: bool = False, port: int | None = None) -> str:
        """How to connect: over the Unix socket, or over TCP to a wire's port."""
        plain = self.cluster.conninfo(database, admin=admin)
        return plain if port is None else make_conninfo(plain, host="127.0.0.1", port=port)

    def scratch(self) -> Path:
        """A folder that the server's user may write in."""
        folder = self.cluster.data.with_name("scratch")
        folder.mkdir(exist_ok=True)
        server_account(self.cluster.data).own(folder)
        return folder

    def for_programs(self, database: str) -> str:
        """How PostgreSQL's own programs connect, which are older than our libpq and know fewer parameters."""
        known = {"host", "port", "user", "password", "dbname"}
        said = conninfo_to_dict(self.conninfo(database, admin=True))
        return make_conninfo(**{name: value for name, value in said.items() if name in known})

    @property
    def port(self) -> int:
        return int(conninfo_to_dict(self.cluster.conninfo(BARE))["port"])

    def stop(self, mode: str) -> None:
        """Stop the server as pg_ctl does: `fast` in order, `immediate` as a crash."""
        control(self.cluster.data, "stop", "-m", mode)

    def run_as_server(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs as the user who runs the server."""
        run_as_owner(self.cluster.data, program, *arguments)

    def crash(self) -> None:
        """Stop PostgreSQL at once, and start it again."""
        self.stop("immediate")
        self.cluster.start()

    def control_is_untouched(self, connection: psycopg.Connection) -> bool:
        return keyed(connection, CONTROL_ROWS) == self._control

    def remove(self) -> None:
        self.cluster.remove()
        shutil.rmtree(self.home, ignore_errors=True)

    def _make_template(self, utility: Utility) -> None:
        self._copy(BARE, TEMPLATE)
        target = Target(conninfo=self.cluster.conninfo(TEMPLATE))
        add_control(target.conninfo)
        with psycopg.connect(target.conninfo, autocommit=True) as session:
            self._control = keyed(session, CONTROL_ROWS)
        for state in (BEFORE, OLD):
            loader = Loader(target, ReleaseFolder(self.releases[state].parent))
            for table in (made_up(), SECOND):
                loader.load(table)
        loader.load(COMPUTED)
        with psycopg.connect(target.conninfo, autocommit=True) as session:
            for table in (PLAIN, GIVEN_BACK):
                session.execute(_PLAIN.format(table.name))
        loader.load(GIVEN_BACK, take_over=True)
        utility.target = target
        utility.synced()
        # A second sync finds nothing, and the tables as they were remembered.
        assert {each.outcome for each in utility.synced().values()} == {"unchanged"}
        with psycopg.connect(target.conninfo, autocommit=True) as session:
            session.execute(f"DROP TABLE {GIVEN_BACK.name}_before_flux")
            session.execute(_SEQUENCES)
            assert [kind for kind, states in self.states.items() if not states[OLD].is_in(session)] == []

    def _copy(self, template: str, name: str) -> None:
        with self.cluster.admin_session() as admin:
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
            admin.execute(create.format(*map(sql.Identifier, (name, template, OWNER))))


def add_control(conninfo: str) -> None:
    """Make the tables that nobody touches but the suite itself."""
    with psycopg.connect(conninfo, autocommit=True) as session:
        session.execute(_CONTROL)


def run_as_owner(data: Path, program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs as the owner of a data folder."""
    command = [binaries.find(int((data / "PG_VERSION").read_text())).program(program), *arguments]
    log = data.with_name(f"{data.name}.programs.log")
    with log.open("ab") as output:
        code = server_account(data).run(command, output)
    if code != 0:
        raise RuntimeError(f"{program} {arguments[0]} ended with {code}: {log.read_text()[-2000:]}")


def control(data: Path, *action: str) -> None:
    """Run pg_ctl on a data folder."""
    run_as_owner(data, "pg_ctl", *action, "-s", "-w", "-t", "60", "-D", str(data))


def _release(folder: Path, state: int) -> Path:
    """The first file of a release of the state, in which each has other rows, other keys and another number of them."""
    made, tag = ReleaseFolder(folder / f"v{state}"), "abcd"[state]
    made.write(SECOND, rows(700 + 300 * state, start=state, tag=tag))
    for table in (PLAIN, GIVEN_BACK):
        made.write(table, rows(2000 + 500 * state, start=state, tag=tag))
    return made.write(made_up(), rows(2000 + 500 * state, start=state, tag=tag))


def _told(utility: Utility, state: int) -> State:
    """Put a state into a source."""
    now = datetime.now(UTC)
    hour_ago, long_ago = (f"{now - age:%Y-%m-%d %H:%M:%S}" for age in (timedelta(hours=1), timedelta(days=30)))
    faults = [
        Fault(f"F{number}", f"L{(number + state) % 4}", "SHUT" if number % 5 == 0 else "OPEN",
              long_ago if number % 10 == 0 else hour_ago, number + 1000 * state, -95 - number / 1000, 29.5,
              is_taken=number % 10 != 0)
        for number in range(20 * state, 300 + 40 * state)
    ]  # fmt: skip
    feeders = {f"L{number}": (f"State {state}", 10 * number + state) for number in range(4)}
    utility.tell(SOURCE)
    fault_rows = (
        f"('{f.fault_id}', '{f.feeder}', '{f.state}', '{f.begun}', {f.homes}, {f.lon!r}, {f.lat!r})" for f in faults
    )
    feeder_rows = (f"('{name}', '{title}', {homes})" for name, (title, homes) in feeders.items())
    utility.tell(
        f"INSERT INTO FAULTS VALUES {', '.join(fault_rows)}; INSERT INTO FEEDERS VALUES {', '.join(feeder_rows)}"
    )
    return sync_state(faults, feeders)
