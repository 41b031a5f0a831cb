"""What the tests of checks share: a way to say how a table is broken, and what a check has to say of it."""

from __future__ import annotations

from dataclasses import dataclass

from flux_assets.checks.audit import AuditResult, Severity
from flux_assets_tests.conftest import Sql

BOW = "ST_GeomFromText('POLYGON((10 50, 10.01 50.01, 10.01 50, 10 50.01, 10 50))', 4326)"
FAILURE = (
    "INSERT INTO postgres_sync.sync_status (layer_name, status, started_at, error_message)"
    " SELECT {table}, 'FAILED', clock_timestamp() - number * interval '10 minutes', E'Gone.\\nMore of it.'"
    " FROM generate_series(1, {times}) AS number"
)
DROPPED = (
    "INSERT INTO postgres_sync.dropped_keys"
    " VALUES ('public', '{}', 'public.lamps', 'of_pole', '{{pole}}', '{{{}}}', '')"
)


@dataclass(frozen=True)
class Break:
    """What breaks a table so that the check `name` fails with `severity` and says `said`."""

    name: str
    severity: Severity
    statements: tuple[str, ...]
    said: str

    def __str__(self) -> str:
        return self.name


def error(name: str, said: str, *statements: str) -> Break:
    return Break(name, "ERROR", statements, said)


def warn(name: str, said: str, *statements: str) -> Break:
    return Break(name, "WARN", statements, said)


def assert_says(found: AuditResult, broken: Break, sql: Sql) -> None:
    """It fails as it should, with numbers, an offender, and a query that shows something."""
    assert (found.passed, found.severity) == (False, broken.severity)
    assert any(broken.said in said for said in found.sample), found.sample
    assert found.numbers
    for query in found.sql.split(";\n"):
        assert query.startswith("-- in Snowflake") or sql(query)
