"""How often a sync waits for PostgreSQL: most of what it takes where the database is 20 ms away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flux_assets.sync import gate
from flux_assets_tests.synced import Utility

SEED = """
INSERT INTO FEEDERS VALUES ('L1', 'one', 1), ('L2', 'two', 2);
INSERT INTO FAULTS SELECT 'F' || SEQ4(), 'L' || (1 + MOD(SEQ4(), 2)), 'OPEN', SYSDATE(), SEQ4(), -95, 29
FROM TABLE(GENERATOR(ROWCOUNT => 120))
"""
CHANGES = "UPDATE FAULTS SET HOMES = 800 WHERE FAULT_ID = 'F3'; UPDATE FEEDERS SET TITLE = 'changed'"


@pytest.mark.parametrize(("changes", "at_most"), [(CHANGES, 13), ("", 5)], ids=["changed", "unchanged"])
def test_a_sync_asks_the_database_few_times(
    utility: Utility, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: str, at_most: int
) -> None:
    utility.tell(SEED)
    utility.synced()
    utility.tell(changes)
    wire, open_gate = tmp_path / "wire", gate.open_gate
    with wire.open("wb") as file:

        def traced(session: Any, *given: Any) -> Any:
            session.pgconn.trace(file.fileno())
            return open_gate(session, *given)

        monkeypatch.setattr(gate, "open_gate", traced)
        outcomes = {each.outcome for each in utility.synced().values()}
    assert outcomes == {"changed" if changes else "unchanged"}
    assert 0 < wire.read_text(errors="replace").count("ReadyForQuery") <= at_most
