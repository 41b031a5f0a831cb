"""The way the layers were loaded before: the baseline.

Here: drop the table and what depends on it, create it with its key, gunzip into psql's \\copy, then the other indexes
and ANALYZE, layer after layer. It counts nothing and checks nothing. Not here: our way (ours.py).
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from bench.ground import path_of, psql
from flux_assets.postgis.connect import Target
from flux_assets.release.release import Release
from flux_assets.spec import StaticTable


def load(table: StaticTable, release: Release, target: Target) -> None:
    """Load one layer; readers see nothing of it meanwhile."""
    command, environment = psql(target)
    run([*command, "-c", f"DROP TABLE IF EXISTS {table.name} CASCADE", "-c", create_table(table)], environment)
    columns = ", ".join(table.column_names)
    copy = f"\\copy {table.name} ({columns}) FROM STDIN WITH (FORMAT csv, HEADER)"
    pipe = f"gunzip -c {shlex.quote(str(path_of(release, table)))} | {shlex.join([*command, '-c', copy])}"
    run(["bash", "-o", "pipefail", "-c", pipe], environment)
    after = [argument for statement in finish(table) for argument in ("-c", statement)]
    run([*command, *after], environment)


def load_all(tables: Iterable[StaticTable], release: Release, target: Target) -> None:
    """Load layers one after the other."""
    for table in tables:
        load(table, release, target)


def create_table(table: StaticTable) -> str:
    """The table with its key and unique constraints, as the old schema had it."""
    return str(CreateTable(table.table).compile(dialect=postgresql.dialect()))


def create_indexes(table: StaticTable) -> list[str]:
    """The other indexes, GiST first."""
    return [str(CreateIndex(index).compile(dialect=postgresql.dialect())) for index in table.indexes]


def finish(table: StaticTable) -> list[str]:
    """What follows the rows."""
    return [*create_indexes(table), f"ANALYZE {table.name}"]


def run(command: list[str], environment: dict[str, str], cwd: Path | None = None) -> tuple[str, str]:
    """Run a program to its end; its output and what it said on stderr. Raises RuntimeError when it failed."""
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout, done.stderr
