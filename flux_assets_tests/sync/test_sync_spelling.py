"""Identifiers that the two ends spell differently: mapped in FLUX_CONFIG, and what joins is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from flux_assets.postgis.liveness import Stop
from flux_assets.sync.live_audit import AuditRequest, audit_tables
from flux_assets_tests.conftest import Sql
from flux_assets_tests.sourced import config
from flux_assets_tests.synced import FAULTS, FEEDERS, Utility

pytestmark = pytest.mark.bare

MAPPED = [
    """[FAULTS.columns]
    feeder = { values = { "CKT 'one'" = "A", "ckt-b " = "B" } }
    [FEEDERS.columns]
    feeder = { values = { "F-A" = "A", "F-B" = "B" } }""",
    """[FAULTS.columns]
    feeder = { column = "FEEDER", values = { "CKT 'one'" = "A", "ckt-b " = "B" } }
    [FEEDERS.columns]
    feeder = { expression = "REPLACE(FEEDER, 'F-', '')" }""",
    """[FAULTS.columns]
    feeder = { expression = "UPPER(TRIM(FEEDER))", values = { "CKT 'ONE'" = "A", "CKT-B" = "B" } }
    [FEEDERS.columns]
    feeder = { expression = "SUBSTR(FEEDER, 3)" }""",
]


@pytest.fixture
def spelt(utility: Utility, sql: Sql) -> Utility:
    """Faults and feeders whose identifiers differ at every end, and assets of the layers'."""
    sql("CREATE TABLE assets (feeder text, load float8)")
    sql("INSERT INTO assets VALUES ('A', 50), ('B', 60)")
    names = {"F1": "CKT ''one''", "F2": "ckt-b ", "F3": "B"}
    utility.tell("INSERT INTO FEEDERS VALUES ('F-A', 'Alder', 1), ('F-B', 'Birch', 2)")
    for fault, feeder in names.items():
        utility.tell(f"INSERT INTO FAULTS SELECT '{fault}', '{feeder}', 'OPEN', SYSDATE(), 5, 1, 2")
    return utility


def audited(utility: Utility, table, name: str):
    (audit,) = audit_tables([AuditRequest(table=table, names=[name])], utility.target, utility.source, Stop())[
        table.name
    ].audits
    return audit


@pytest.mark.parametrize("text", MAPPED, ids=["values", "column and expression", "expression and values"])
def test_what_is_mapped_joins(text: str, spelt: Utility, sql: Sql, tmp_path: Path) -> None:
    spelt.synced()
    assert sql("SELECT feeder, faults, load FROM feeders ORDER BY 1") == [("F-A", 0, None), ("F-B", 0, None)]
    numbers = audited(spelt, FEEDERS, "derived").numbers
    assert (numbers["found_in_assets"], numbers["not_in_assets"]) == (0, 2)
    assert len(audited(spelt, FAULTS, "all_assigned").sample) == 3
    spelt.overrides = config(tmp_path, text)
    # Each key of the circuits has another spelling now, which looks like a source that lost its rows.
    spelt.synced(accept_vanished=True)
    assert sql("SELECT fault_id, feeder FROM faults ORDER BY 1") == [("F1", "A"), ("F2", "B"), ("F3", "B")]
    assert sql("SELECT feeder, title, faults, load FROM feeders ORDER BY 1") == [
        ("A", "Alder", 1, 50),
        ("B", "Birch", 2, 60),
    ]
    numbers = audited(spelt, FEEDERS, "derived").numbers
    assert (numbers["found_in_assets"], numbers["not_in_assets"]) == (2, 0)
    assert audited(spelt, FAULTS, "all_assigned").sample == ()
    assert spelt.synced()["feeders"].outcome == "unchanged"


def test_a_mapped_key_is_looked_for_as_it_is_spelt_here(spelt: Utility, sql: Sql, tmp_path: Path) -> None:
    """Whether a row that is to be deleted is still in the source is asked by the key of the table."""
    keys = '[FAULTS.columns.fault_id]\nvalues = { F1 = "ONE", F2 = "TWO" }'
    spelt.overrides = config(tmp_path, f"{MAPPED[0]}\n{keys}")
    spelt.synced()
    spelt.tell("UPDATE FAULTS SET STATE = 'SHUT', BEGUN = '2020-01-01' WHERE FAULT_ID IN ('F1', 'F2')")
    result = spelt.synced()["faults"]
    assert (result.deleted, result.vanished) == (2, 0)
    assert sql("SELECT fault_id FROM faults") == [("F3",)]
