"""A hand on both ends of the warehouse package: tell a source things, and read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import snowflake.connector

from flux_assets.snowflake.account import Account
from flux_assets.snowflake.mapping import Mapping
from flux_assets.snowflake.overrides import Overrides
from flux_assets.snowflake.source import Source
from flux_assets.spec import DynamicTable
from flux_assets_tests.synced import FAULTS

PLAIN = """
CREATE TABLE FAULTS (FAULT_ID VARCHAR(50), FEEDER VARCHAR(50), STATE VARCHAR(50), BEGUN TIMESTAMP_NTZ,
                     HOMES NUMBER(10,0), LON FLOAT, LAT FLOAT);
INSERT INTO FAULTS SELECT 'F2', 'A', 'OPEN', '2024-01-01 12:00:00', 5, 10.5, 'NaN';
INSERT INTO FAULTS SELECT 'F1', 'A', 'SHUT', SYSDATE(), NULL, NULL, NULL;
INSERT INTO FAULTS SELECT 'F3', 'A', 'SHUT', '2024-01-01 12:00:00', NULL, NULL, NULL
"""


def tell(account: Account, script: str) -> None:
    """Run statements in the source, separated by semicolons."""
    with snowflake.connector.connect(**account.arguments()) as connection:
        for statement in filter(None, map(str.strip, script.split(";"))):
            connection.cursor().execute(statement)


def config(folder: Path, text: str) -> Overrides:
    """A FLUX_CONFIG file, read."""
    path = folder / "flux.toml"
    path.write_text(text, encoding="utf-8")
    return Overrides.load(path)


@contextmanager
def opened(account: Account, overrides: Overrides | None = None) -> Iterator[Source]:
    with Source.open(account, overrides or Overrides()) as source:
        yield source


def read(account: Account, table: DynamicTable = FAULTS, overrides: Overrides | None = None) -> list[dict]:
    overrides = overrides or Overrides()
    table = overrides.applied_to(table, [table])
    with opened(account, overrides) as source:
        rows = source.rows(source.mapping(table), source.instant())
        return [row for batch in rows for row in batch.to_pylist()]


def mapping(account: Account, table: DynamicTable = FAULTS, overrides: Overrides | None = None) -> Mapping:
    with opened(account, overrides) as source:
        return source.mapping(table)


def expressions(found: Mapping) -> dict[str, str]:
    return {column.target: column.expression for column in found.columns}
