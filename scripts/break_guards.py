"""Breaks each guard of the two protocols on purpose, in a copy of the tree, and shows which tests fall for it.

A guard whose absence no test notices ends the script with an error, and so does one that is not where it is looked for.

    .venv/bin/python scripts/break_guards.py            # all
    .venv/bin/python scripts/break_guards.py FREEZE     # those whose name holds the word
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
_COPIED = ("flux_assets", "flux_assets_tests", "sql", "docs", "pyproject.toml", "dagster.yaml", "workspace.yaml")
_FALLEN = re.compile(r"^(?:FAILED|ERROR) (\S+::.+?)(?: - .*)?$", re.MULTILINE)
_POINTS = "flux_assets_tests/faults/test_points.py"
_LEASES = "flux_assets_tests/ledger/test_leases.py"
_OTHERS = "flux_assets_tests/faults/test_others.py"


@dataclass(frozen=True)
class Guard:
    """A guard, the text that makes it, what stands there when it is broken, and the tests that should fall."""

    name: str
    file: str
    text: str
    broken: str
    tests: tuple[str, ...]


GUARDS = (
    Guard(
        "lease check of a publish", "flux_assets/layers/publish.py",
        "[each.lease.holding() for each in publications]", "[]",
        (_LEASES, "-k", "frozen_load_whose_version_is_still_there"),
    ),
    Guard(
        "lease check of a sync", "flux_assets/sync/record.py",
        "script += [lease.holding(), *", 'script += [sql.SQL("SELECT 1"), *',
        (_POINTS, "-k", "sync.read and SIGSTOP"),
    ),
    Guard(
        "lease check of dropping versions", "flux_assets/layers/publish.py",
        "at_once(context.control, [lease.holding(), drop, ", "at_once(context.control, [drop, ",
        (_POINTS, "-k", "load.swapped and woken"),
    ),
    Guard(
        "one lease at a time", "sql/postgis/leases.sql",
        "ELSE NOT postgres_sync.is_alive(held.holder_pid, held.holder_start) END", "ELSE true END",
        (_OTHERS, "-k", "another_run_at_the_same_time"),
    ),
    Guard(
        "overtaking a holder that gives no sign of life", "sql/postgis/leases.sql",
        "WHEN held.seen_at NOT BETWEEN clock_timestamp() - {stale} AND clock_timestamp() + {stale} THEN true", "",
        (_POINTS, "-k", "load.staged and overtaken"),
    ),
    Guard(
        "FREEZE", "flux_assets/layers/staging.py",
        "(FORMAT binary, FREEZE)", "(FORMAT binary)",
        (_OTHERS, "-k", "older_snapshot and load"),
    ),
    Guard(
        "lock time-out", "flux_assets/postgis/session.py",
        "LOCK_TIMEOUT_MS, PROMISED_MS = 40, 100", "LOCK_TIMEOUT_MS, PROMISED_MS = 900, 100",
        (_OTHERS, "-k", "reader_that_stays"),
    ),
    Guard(
        "one round trip under the lock", "flux_assets/postgis/session.py",
        'return run(connection, [_LIMITS, *statements, sql.SQL("COMMIT")])',
        'run(connection, [_LIMITS]); answers = [rows for each in statements for rows in run(connection, [each])];'
        ' connection.execute("COMMIT"); return answers',
        (_POINTS, "-k", "LOCK and overtaken"),
    ),
    Guard(
        "statement deadline under the lock", "flux_assets/postgis/session.py",
        "SET LOCAL statement_timeout = '1s'", "SET LOCAL statement_timeout = 0",
        (_OTHERS, "-k", "somebody_elses_trigger"),
    ),
    Guard(
        "deadline of a transaction that is left open", "sql/postgis/sync.sql",
        "SET idle_in_transaction_session_timeout = {idle};", "SET idle_in_transaction_session_timeout = 0;",
        (_POINTS, "-k", "sync.written and faults and overtaken"),
    ),
    Guard(
        "looking after silent connections", "flux_assets/postgis/liveness.py",
        "        self.lost = reason\n", "        return\n        self.lost = reason\n",
        (_POINTS, "-k", "load.fetched and silent"),
    ),
    Guard(
        "ending a session that was given up", "flux_assets/sync/record.py",
        "other.execute(lease.ending_session())", "pass",
        (_OTHERS, "-k", "without_an_answer and written"),
    ),
    Guard(
        "keeping the lease while failed tables are recorded", "flux_assets/sync/record.py",
        '(table.entry and table.step == "failed") or ', "",
        (_LEASES, "-k", "gives_its_lease_back"),
    ),
    Guard(
        "savepoints", "flux_assets/sync/write.py",
        "context.session.execute(_back_to(to))", 'context.session.execute(sql.SQL("ROLLBACK"))',
        ("flux_assets_tests/sync/test_sync.py", "-k", "cannot_be_written or locked_by_others"),
    ),
    Guard(
        "shrink guard of a sync", "flux_assets/sync/write.py",
        "    if table.vanished > allowed:\n", "    if False:\n",
        ("flux_assets_tests/sync/test_sync.py", "flux_assets_tests/sync/test_sync_others.py"),
    ),
    Guard(
        "shrink guard of a load", "flux_assets/checks/audits.py",
        "case.rows < case.published_rows * _SHRUNK", "False",
        ("flux_assets_tests/checks/test_audits.py", "flux_assets_tests/layers/test_load.py"),
    ),
)  # fmt: skip


def main() -> int:
    """Break one guard after the other; 0 when a test fell for each."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    guards = [guard for guard in GUARDS if wanted in guard.name]
    standing = [guard.name for guard in guards if not _falls(guard)]
    sys.stdout.write(f"{len(guards) - len(standing)} of {len(guards)} guards are tested\n")
    return 1 if standing or not guards else 0


def _falls(guard: Guard) -> bool:
    """Whether a test falls when the guard is broken."""
    with tempfile.TemporaryDirectory(prefix="flux-guards-") as folder:
        tree = Path(folder) / "tree"
        _copy(tree)
        _break(guard, tree)
        done = _tested(guard, tree)
    fallen = _FALLEN.findall(done.stdout)
    if done.returncode == 1 and fallen:
        sys.stdout.write(f"{guard.name}:\n" + "".join(f"    falls: {name}\n" for name in fallen))
        return True
    said = (
        "no test notices it" if done.returncode == 0 else f"the tests did not run:\n{done.stdout[-2000:]}{done.stderr}"
    )
    sys.stdout.write(f"{guard.name}: STANDS, {said}\n")
    return False


def _copy(tree: Path) -> None:
    tree.mkdir()
    # PostgreSQL's user has to get through to what is under it.
    for folder in (tree.parent, tree):
        folder.chmod(0o755)
    for name in _COPIED:
        here, there = REPOSITORY / name, tree / name
        if here.is_dir():
            shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(here, there)


def _break(guard: Guard, tree: Path) -> None:
    path = tree / guard.file
    text = path.read_text(encoding="utf-8")
    if text.count(guard.text) != 1:
        raise SystemExit(f"{guard.name}: {guard.file} holds its text {text.count(guard.text)} times, not once.")
    path.write_text(text.replace(guard.text, guard.broken), encoding="utf-8")


def _tested(guard: Guard, tree: Path) -> subprocess.CompletedProcess[str]:
    command = [
        REPOSITORY / "scripts" / "isolated.sh", sys.executable, "-m", "pytest", "-q", "-m", "",
            "-p", "no:cacheprovider",
        *guard.tests,
    ]  # fmt: skip
    return subprocess.run(
        command, cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)}, capture_output=True, text=True, check=False
    )


if __name__ == "__main__":
    sys.exit(main())
