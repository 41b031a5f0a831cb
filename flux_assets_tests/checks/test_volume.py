"""Whether a row count is plausible: by FLUX_CONFIG, else by the table's own past, else by its declaration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flux_assets.checks.audit import AuditResult
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import LoadResult
from flux_assets.layers.rollback import rollback, unpin
from flux_assets.layers.status import audit_live
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.snowflake.account import Account
from flux_assets.spec import DynamicTable
from flux_assets.spec.facts import Volume
from flux_assets.sync.live_audit import AuditRequest, audit_tables
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, made_up, rows
from flux_assets_tests.synced import FAULTS, FEEDERS, SOURCE, Utility, source_database

POLES = made_up(parts=columns(geom=None), positions=(), volume=Volume(minimum=2, maximum=150))


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path))


def volume(audits: tuple[AuditResult, ...]) -> AuditResult:
    (found,) = (audit for audit in audits if audit.name == "volume")
    return found


def loaded(loader: Loader, *counts: int) -> LoadResult:
    """Publish a version of each of these many rows; returns what the last load did."""
    for count in counts:
        result = loader.load(POLES, rows(count, tag=f"{len(loader.log)}-"), accept_fewer_rows=True)
    return result


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((1,), "1 rows are fewer than the 2 that are plausible, as the declaration says of a table without a past"),
        ((151,), "151 rows are more than the 150 that are plausible, as the declaration says"),
        ((3, 5), None),
        ((120, 80), None),
        ((120, 60), "60 rows are fewer than the 80 that are plausible, two thirds of the 120 of version {0} of"),
        ((120, 79), "79 rows are fewer than the 80"),
        ((120, 190), None),
        ((120, 191), "191 rows are more than the 190 that are plausible, half as many again as the 120 of ve"),
        ((200, 2), "2 rows are fewer than the 134"),  # the sample of a release, asked for
        ((120, 60, 120), None),  # what was before is no news
        ((120, 60, 60), None),
        ((500, 100, 101, 102, 103, 104, 400), "400 rows are more than the 166"),  # the first is too long ago
    ],
    ids=str,
)  # fmt: skip
def test_versions_are_judged_by_those_before(loader: Loader, counts: tuple[int, ...], said: str | None) -> None:
    versions = [loaded(loader, count).version[:12] for count in counts[:-1]]
    result = loaded(loader, counts[-1])
    found = volume(result.audits)
    assert result.rows == counts[-1], "it is published all the same"
    assert (found.passed, found.severity) == (said is None, "WARN")
    assert said is None or found.sample[0].startswith(said.format(*versions))
    assert volume(audit_live(POLES, loader.target, {"volume"})).sample == found.sample, "of what readers see too"
    again = volume(loader.load(POLES, force=True).audits)
    assert again.sample == found.sample, "the same version anew is no past of its own"


def test_what_was_rolled_back_is_no_measure(loader: Loader, target: Target) -> None:
    good = loaded(loader, 100, 120).version
    assert not volume(loaded(loader, 300).audits).passed
    rollback(POLES, target, LoadOptions(), loader.log.append)
    unpin(POLES, target)
    live = volume(audit_live(POLES, target, {"volume"}))
    assert (live.passed, live.numbers["maximum"]) == (True, 160)
    found = volume(loaded(loader, 310).audits)
    assert found.sample[0].startswith("310 rows are more than the 190 that are plausible")
    assert f"120 (version {good[:12]} of release v1), 100 (" in str(found.numbers["past"])
    assert "300" not in str(found.numbers["past"])


def test_a_configured_bound_wins_and_the_other_stays(loader: Loader) -> None:
    loader.target = replace(loader.target, volumes={"poles": Volume(maximum=1000)})
    assert volume(loaded(loader, 120, 900).audits).passed
    found = volume(loaded(loader, 1001).audits)
    assert found.sample == ("1,001 rows are more than the 1,000 that are plausible, as FLUX_CONFIG says",)
    assert volume(loaded(loader, 500).audits).sample[0].startswith("500 rows are fewer than the 668")
    loader.target = replace(loader.target, volumes={"poles": Volume(minimum=10)})
    assert volume(loaded(loader, 200).audits).passed
    assert volume(audit_live(POLES, loader.target, {"volume"})).numbers["minimum"] == 10


def test_synced_tables_are_judged_by_the_days_before(target: Target, source_server: Account, sql: Sql) -> None:
    """A day old, so that a wrong count is told for a day; rows that come and go with the weather have a wide margin."""
    feeders, faults = replace(FEEDERS, volume=Volume(maximum=3)), replace(FAULTS, volume=Volume(maximum=3))
    utility = Utility(account=source_database(source_server), target=target, tables=(faults, feeders))
    utility.tell(f"{SOURCE}; INSERT INTO FEEDERS SELECT 'F' || SEQ4(), 'T', 1 FROM TABLE(GENERATOR(ROWCOUNT => 30))")
    utility.tell("INSERT INTO FAULTS SELECT 'F', 'F1', 'OPEN', SYSDATE(), 5, -95.1, 29.1")

    def judged(table: DynamicTable) -> AuditResult:
        asked = AuditRequest(table=table, names={"volume"})
        return volume(audit_tables([asked], utility.target, utility.source, Stop())[table.name].audits)

    utility.synced()
    assert judged(feeders).sample == (
        "30 rows are more than the 3 that are plausible, as the declaration says of a table without a past",
    )
    sql("UPDATE postgres_sync.sync_status SET started_at = started_at - interval '25 hours'")
    utility.tell("INSERT INTO FEEDERS SELECT 'G' || SEQ4(), 'T', 1 FROM TABLE(GENERATOR(ROWCOUNT => 26))")
    utility.tell("INSERT INTO FAULTS SELECT 'G' || SEQ4(), 'F1', 'OPEN', SYSDATE(), 5, -95.1, 29.1"
                 " FROM TABLE(GENERATOR(ROWCOUNT => 9999))")  # fmt: skip
    utility.synced()
    assert (
        judged(feeders)
        .sample[0]
        .startswith("56 rows are more than the 55 that are plausible, half as many again as the 30 of the sync of 20")
    )
    storm = judged(faults)
    assert (storm.passed, storm.numbers["rows"], storm.numbers["maximum"]) == (True, 10_000, 10_000)
    utility.target = replace(target, volumes={"faults": Volume(maximum=500)})
    assert judged(faults).sample == ("10,000 rows are more than the 500 that are plausible, as FLUX_CONFIG says",)
