"""A source whose columns or values are no longer what they were, seen through whole runs: its table stays as it was and
is in the ledger with what to do, the others go on, and what the message says to do fixes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flux_assets.orchestration.sync_assets import STEP
from flux_assets.settings import load_settings
from flux_assets_tests.conftest import Sql
from flux_assets_tests.sync_runs import definitions, fault, filled, tick
from flux_assets_tests.synced import Utility

HELD = "SELECT fault_id, feeder, state, begun, homes, came, moved FROM faults ORDER BY 1"
FAILURE = "SELECT layer_name, error_message FROM postgres_sync.sync_status WHERE status = 'FAILED'"
RETYPED = """
CREATE TABLE NEW AS SELECT FAULT_ID, FEEDER, STATE, BEGUN, {} AS HOMES, LON, LAT FROM FAULTS;
DROP TABLE FAULTS; ALTER TABLE NEW RENAME TO FAULTS
"""


@pytest.mark.parametrize(
    ("broken", "said", "repaired", "configured"),
    [
        pytest.param(
            RETYPED.format("HOMES::VARCHAR"),
            ["faults.homes is integer", "FAULTS", "has for it is not: HOMES (VARCHAR).",
             "[FAULTS.columns] homes = { expression = 'TRY_TO_NUMBER(\"HOMES\"::VARCHAR)' }"],
            "",
            "homes = { expression = 'TRY_TO_NUMBER(\"HOMES\"::VARCHAR)' }",
            id="retyped",
        ),
        pytest.param(
            RETYPED.format("BEGUN"),
            ["faults.homes is integer", "has for it is not: HOMES (TIMESTAMP_NTZ).", "TRY_TO_NUMBER("],
            RETYPED.format("5"),
            "",
            id="retyped to a time",
        ),
        pytest.param(
            "ALTER TABLE FAULTS RENAME COLUMN STATE TO CONDITION",
            ["faults.state is required", "has none of the columns STATE; it has FAULT_ID", "CONDITION (VARCHAR)",
             '[FAULTS.columns] state = "COLUMN"'],
            "",
            "state = 'CONDITION'",
            id="renamed",
        ),
        pytest.param(
            "ALTER TABLE FAULTS DROP COLUMN FEEDER",
            ["faults.feeder is required", "has none of the columns FEEDER; it has FAULT_ID"],
            "ALTER TABLE FAULTS ADD COLUMN FEEDER VARCHAR; UPDATE FAULTS SET FEEDER = 'A'",
            "",
            id="missing",
        ),
        pytest.param(
            RETYPED.format("7.5::FLOAT"),
            ["faults.homes: 7.5 is not a value of integer (key F1, F2", "Correct the rows", "FLUX_CONFIG"],
            "UPDATE FAULTS SET HOMES = 7",
            "",
            id="a fraction where a count belongs",
        ),
        pytest.param(
            RETYPED.format("'many'"),
            ["faults.homes: 'many' is not a value of integer (key F1, F2", "Correct the rows in the source"],
            "UPDATE FAULTS SET HOMES = '7'",
            "homes = { expression = 'HOMES' }",
            id="text where a number belongs",
        ),
        pytest.param(
            "UPDATE FAULTS SET FEEDER = 'a name too long' WHERE FAULT_ID = 'F2'",
            ["faults.feeder: 'a name too long' has 15 characters, varchar(10) takes 10 (key F2)", "Correct the rows"],
            "UPDATE FAULTS SET FEEDER = 'A'",
            "",
            id="too long",
        ),
    ],
)  # fmt: skip
def test_it_fails_its_table_alone_and_what_the_message_says_fixes_it(
    instance, reached: Utility, sql: Sql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    broken: str, said: list[str], repaired: str, configured: str,
) -> None:  # fmt: skip
    """`configured` is a line of FLUX_CONFIG: there from the beginning where the source is repaired, else the repair."""
    running, defs = filled(reached), definitions()
    config = tmp_path / "flux.toml"
    config.write_text(f"[FAULTS.columns]\n{configured if repaired else ''}\n")
    monkeypatch.setenv("FLUX_CONFIG", str(config))
    load_settings.cache_clear()
    assert tick(defs, instance).succeeded
    before = sql(HELD)
    running.tell("UPDATE FEEDERS SET TITLE = 'new';" + fault(3) + broken)
    failed = tick(defs, instance)
    assert not failed.succeeded
    assert list(failed.materialized()) == ["feeders"]
    assert (sql(HELD), sql("SELECT DISTINCT title FROM feeders")) == (before, [("new",)])
    ((table, message),) = sql(FAILURE)
    assert table == "faults"
    assert [part for part in said if part not in message] == [], message
    assert message in failed.failure(STEP)
    config.write_text(f"[FAULTS.columns]\n{configured}\n")
    running.tell(repaired)
    fixed = tick(defs, instance)
    assert fixed.succeeded
    assert list(fixed.materialized()) == ["faults", "feeders"]
    assert sql("SELECT count(*), count(homes) FROM faults") == [(3, 3)]
    assert len(sql(FAILURE)) == 1
