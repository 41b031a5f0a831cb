"""Old rows of the ledger: which go, which stay, and for how long."""

from datetime import timedelta

import pytest

from flux_assets.errors import LayerError
from flux_assets.layers.versions import VersionTimes
from flux_assets.ledger.pruning import prune
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import prepare
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

pytestmark = pytest.mark.bare

KEEP = timedelta(days=90)


@pytest.fixture
def session(target):
    with target.session("test") as session:
        prepare(session, "public")
        yield session


@pytest.fixture
def entry(session):
    """Writes a row of the ledger that is so many days old."""

    def write(
        days: float, sync_type="UNCHANGED", status="SUCCESS", *, table="poles", schema="public", version=None
    ) -> int:
        ((number,),) = session.execute(
            "INSERT INTO postgres_sync.sync_status (layer_name, schema_name, sync_type, status, version, started_at)"
            " VALUES (%s, %s, %s, %s, %s, now() - %s * interval '1 day') RETURNING sync_id",
            [table, schema, sync_type, status, version, days],
        )  # fmt: skip
        return number

    return write


def left(session) -> list[int]:
    return [number for (number,) in session.execute("SELECT sync_id FROM postgres_sync.sync_status ORDER BY 1")]


def test_what_is_older_than_that_goes(session, entry):
    entry(91), entry(400, "DELTA")
    stay = [entry(89), entry(1, "DELTA")]
    assert prune(session, "public", KEEP)[0] == 2
    assert left(session) == stay
    assert prune(session, "public", KEEP)[0] == 0


def test_failures_and_published_versions_stay_longer(session, entry):
    entry(0), entry(0, "DELTA", "FAILED")
    stay = left(session)
    stay += [entry(91, "DELTA", "FAILED"), entry(91, "FULL"), entry(91, "ROLLBACK"), entry(359, "PUBLISH")]
    entry(90 * 4 + 1, "DELTA", "FAILED"), entry(90 * 4 + 1, "FULL"), entry(400, "FULL", "RUNNING")
    assert prune(session, "public", KEEP)[0] == 3
    assert left(session) == stay


def test_the_newest_success_change_and_failure_of_each_table_stay_for_ever(session, entry):
    entry(4000), entry(4000, "DELTA"), entry(4000, "DELTA", "FAILED"), entry(4000, table="masts")
    stay = [entry(3000), entry(3500, "DELTA"), entry(3700, "DELTA", "FAILED"), entry(3000, table="masts")]
    assert prune(session, "public", KEEP)[0] == 4
    assert left(session) == stay


def test_loads_that_a_pin_held_back_go_like_those_that_found_nothing(target, session, entry, tmp_path):
    """They are many, for as long as a layer is pinned, and the run that published its version stays."""
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    version = loader.load(made_up(), rows(3)).version
    (published,) = left(session)
    session.execute("UPDATE postgres_sync.sync_status SET started_at = started_at - interval '400 days'")
    entry(91, "PINNED", version=version)
    newest = entry(1, "PINNED", version=version)
    assert prune(session, "public", KEEP)[0] == 1
    assert left(session) == [published, newest]


def test_the_runs_of_a_version_that_can_be_rolled_back_to_stay(target, session, entry, tmp_path):
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    kept = [loader.load(made_up(), rows(2)).version, loader.load(made_up(), rows(3)).version]
    session.execute("UPDATE postgres_sync.sync_status SET started_at = now() - interval '10 years'")
    entry(400, "FULL", version="gone by now"), entry(0, "FULL")
    assert prune(session, "public", KEEP)[0] == 1
    (found,) = zip(*session.execute("SELECT version FROM postgres_sync.sync_status ORDER BY sync_id"), strict=True)
    assert found == (*kept, None)


def test_a_run_under_way_stays(session, entry):
    number = entry(5000, "FULL", "RUNNING")
    session.execute(
        "UPDATE postgres_sync.sync_status SET backend_pid = pid, backend_start = session.backend_start"
        " FROM pg_stat_activity AS session WHERE pid = pg_backend_pid()"
    )
    assert prune(session, "public", KEEP)[0] == 0
    assert left(session) == [number]


def test_another_schemas_rows_are_its_own(session, entry):
    stay = [entry(200, schema="gis"), entry(100, schema="gis"), entry(0)]
    entry(200)
    assert prune(session, "public", KEEP)[0] == 1
    assert left(session) == stay


def test_in_batches(session, entry):
    for day in range(100, 125):
        entry(day)
    entry(0)
    assert prune(session, "public", KEEP, batch=10)[0] == 25
    assert len(left(session)) == 1


def test_a_stop_request_is_heard_between_batches(session, entry):
    entry(100), entry(0)
    stop = Stop()
    stop.request()
    with pytest.raises(LayerError, match="Stopped on request"):
        prune(session, "public", KEEP, stop=stop)


@pytest.fixture
def version(session):
    """Writes a row of the register that is so many days old; returns its lease."""

    def write(days: float, state="dropped", *, lease: int, sha256="a", published=False, schema="public") -> int:
        session.execute(
            "INSERT INTO postgres_sync.layer_versions (schema_name, layer_name, lease, version, sha256, release_tag,"
            " relation, state, staged_at, published_at)"
            " VALUES (%(schema)s, 'poles', %(lease)s, 'v', %(sha256)s, 'v1', 'poles__' || %(lease)s, %(state)s,"
            " now() - %(days)s * interval '1 day',"
            " CASE WHEN %(published)s THEN now() - %(days)s * interval '1 day' END)",
            {"schema": schema, "lease": lease, "sha256": sha256, "state": state, "days": days, "published": published},
        )  # fmt: skip
        return lease

    return write


def leases(session) -> list[int]:
    return [lease for (lease,) in session.execute("SELECT lease FROM postgres_sync.layer_versions ORDER BY 1")]


def test_old_rows_of_dropped_versions_go(session, version):
    version(91, lease=1), version(90 * 4 + 1, lease=2, published=True)
    stay = [version(89, lease=3), version(91, lease=4, published=True), version(200, lease=5, schema="gis")]
    for lease, state in enumerate(("staging", "staged", "rejected", "published"), 6):
        stay.append(version(4000, state, lease=lease, sha256=state))
    assert prune(session, "public", KEEP)[1] == 2
    assert leases(session) == stay
    assert prune(session, "public", KEEP)[1] == 0


def test_the_first_sight_of_a_file_that_a_version_holds_stays(session, version):
    first = version(4000, lease=1, published=True)
    version(4000, lease=2, published=True), version(3000, lease=3, published=True)
    held = version(5, "published", lease=4)
    version(4500, lease=5, sha256="of no other", published=True)
    assert prune(session, "public", KEEP)[1] == 3
    assert leases(session) == [first, held]


def test_a_table_that_is_there_all_the_same_keeps_its_row(session, version):
    session.execute("CREATE TABLE flux_versions.poles__1 ()")
    stay = [version(4000, lease=1)]
    assert prune(session, "public", KEEP)[1] == 0
    assert leases(session) == stay


def test_when_a_source_changed_is_told_as_before_the_pruning(target, session, tmp_path):
    """The file was loaded long ago, dropped as another came, and is published once more."""
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    for count in (2, 3, 4, 2):
        loader.load(made_up(), rows(count))
    session.execute("UPDATE postgres_sync.layer_versions SET staged_at = staged_at - interval '10 years',"
                    " published_at = published_at - interval '10 years' WHERE NOT current")  # fmt: skip
    clocks = "SELECT layer_name, source_changed_at, published_at FROM postgres_sync.v_table_status"
    before = session.execute(clocks).fetchall()
    clocks_before = VersionTimes.of(session, Layer("public", made_up()))
    assert session.execute("SELECT count(*) FROM postgres_sync.layer_versions WHERE state = 'dropped'").fetchone() == (
        2,
    )
    assert prune(session, "public", KEEP)[1] == 1
    assert session.execute(clocks).fetchall() == before
    after = VersionTimes.of(session, Layer("public", made_up()))
    assert after.source_changed_at == clocks_before.source_changed_at
    assert (after.published_at - after.source_changed_at).days > 3600
    # And the next load and the next rollback are as they were.
    assert loader.load(made_up()).outcome == "unchanged"
    assert loader.load(made_up(), rows(9)).outcome == "published"


def test_dropped_versions_go_in_batches(session, version):
    for lease in range(25):
        version(100, lease=lease)
    assert prune(session, "public", KEEP, batch=10)[1] == 25
