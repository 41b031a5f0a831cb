"""A pinned layer stays at its version, whoever loads it and however; unpinned, the next load publishes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from flux_assets.errors import BusyError, LayerError, PinnedError, ReleaseError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import pin, rollback, unpin
from flux_assets.layers.status import layer_pins, table_statuses
from flux_assets.layers.versions import Version
from flux_assets.postgis.relations import Layer
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

POLES = made_up()
COUNT = "SELECT count(*) FROM poles"


@pytest.fixture
def loader(target, tmp_path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def pinned(loader: Loader, to: str | None = None, reason: str = ""):
    return pin(POLES, loader.target, LoadOptions(), loader.log.append, to, reason=reason)


def rolled_back(loader: Loader, to: str | None = None) -> str:
    return rollback(POLES, loader.target, LoadOptions(), loader.log.append, to).version


@contextmanager
def when_logged(loader: Loader, beginning: str, action: Callable[[], None]) -> Iterator[None]:
    """Do something the first time a line that begins so is logged: a point in the protocol, not in time."""
    done: list[bool] = []

    class Log(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if line.startswith(beginning) and not done:
                done.append(True)
                action()

    loader.log = Log(loader.log)
    yield
    assert done


@pytest.mark.parametrize("force", [False, True])
def test_a_load_publishes_nothing_over_a_pin_and_says_what_it_left(loader, sql, force):
    first = loader.load(POLES, rows(5), run_id="run-1")
    pinned(loader, reason="v2 lacks a feeder")
    held = loader.load(POLES, rows(6), force=force)
    assert (held.outcome, held.version, held.rows, held.rows_changed) == ("pinned", first.version, 5, False)
    assert (held.sha256, held.audits) == (first.sha256, first.audits)
    assert held.held.version != first.version
    assert not held.held.staged
    assert sql(COUNT) == [(5,)]
    assert sql("SELECT count(*) FROM postgres_sync.layer_versions") == [(1,)], "nothing was staged"
    said = loader.log[-1]
    for word in ("v2 lacks a feeder", first.version[:12], held.held.version[:12], "flux-assets unpin poles"):
        assert word in said
    assert ("force: true does not override a pin" in said) == force
    ledger = "SELECT sync_type, status, version, held_version FROM postgres_sync.v_sync_status LIMIT 1"
    assert sql(ledger) == [("PINNED", "SUCCESS", first.version, held.held.version)]


def test_unpinned_it_is_published_by_the_next_load(loader, sql, target):
    loader.load(POLES, rows(5))
    pinned(loader)
    loader.load(POLES, rows(6))
    assert unpin(POLES, target)
    assert not unpin(POLES, target)
    assert loader.load(POLES).outcome == "published"
    assert sql(COUNT) == [(6,)]


def test_a_rollback_pins(loader, sql, target):
    first, second = (loader.load(POLES, rows(count)).version for count in (5, 6))
    assert rolled_back(loader) == first
    assert layer_pins(target)["poles"].reason == f"rolled back from version {second[:12]}"
    held = loader.load(POLES)
    assert (held.outcome, held.held.version, held.held.staged) == ("pinned", second, True)
    assert sql(COUNT) == [(5,)]
    assert rolled_back(loader) == second, "a person may still go where they like"
    assert loader.load(POLES).outcome == "unchanged"
    assert loader.load(POLES).pin.version == second


def test_a_load_of_the_pinned_version_goes_on_as_ever(loader, sql):
    version = loader.load(POLES, rows(5)).version
    pinned(loader)
    assert loader.load(POLES).outcome == "unchanged"
    sql("DELETE FROM poles WHERE code > 2")
    assert loader.load(POLES, force=True).version == version
    assert sql(COUNT) == [(5,)]


def test_pinning_to_a_kept_version_publishes_it_first(loader, sql):
    first, second = (loader.load(POLES, rows(count)).version for count in (5, 6))
    done = pinned(loader, first[:10], "the old ones")
    assert (done.published, done.pin.version, done.pin.reason, done.version.version) == (
        True, first, "the old ones", first,
    )  # fmt: skip
    assert sql(COUNT) == [(5,)]
    again = pinned(loader, first[:10])
    assert (again.published, again.pin.reason) == (False, "the old ones")
    assert sql("SELECT sync_type FROM postgres_sync.sync_status ORDER BY sync_id") == [
        ("FULL",), ("FULL",), ("ROLLBACK",),
    ]  # fmt: skip
    assert pinned(loader, second).published


def test_the_reason_of_a_pin_stays_when_none_is_given(loader):
    loader.load(POLES, rows(5))
    assert pinned(loader, reason="lacks a feeder").pin.reason == "lacks a feeder"
    assert pinned(loader).pin.reason == "lacks a feeder"
    assert pinned(loader, reason="other").pin.reason == "other"


def test_a_reason_is_a_line(loader):
    loader.load(POLES, rows(5))
    assert pinned(loader, reason=" v2 lacks\n a feeder ").pin.reason == "v2 lacks a feeder"
    with pytest.raises(LayerError, match="The reason has 201 characters"):
        pinned(loader, reason="x" * 201)


def test_what_cannot_be_pinned_says_so(loader, target):
    with pytest.raises(LayerError, match="no live version to pin"):
        pinned(loader)
    version = loader.load(POLES, rows(5)).version
    with pytest.raises(LayerError, match="no kept version beef to roll back to; kept: none"):
        pinned(loader, "beef")
    loader.load(POLES, rows(6))
    with pytest.raises(LayerError, match="several kept versions begin with"):
        pinned(loader, "")
    assert layer_pins(target) == {}
    assert pinned(loader, version).published


@pytest.mark.parametrize("damage", ["DROP TABLE poles", "TRUNCATE poles"])
def test_a_pinned_layer_that_lost_its_version_calls_for_a_person(loader, sql, target, damage):
    """A load that ended well would hide that readers see nothing."""
    first = loader.source.write(POLES, rows(5)).read_bytes()
    loader.load(POLES)
    pinned(loader)
    sql(damage)
    with pytest.raises(PinnedError, match=r"readers do not see that version any more.*flux-assets unpin poles"):
        loader.load(POLES, rows(6))
    (status,) = table_statuses(target, [POLES])
    assert (status.state, status.wrong) == ("broken", True)
    loader.source.write_raw(POLES, first)
    assert loader.load(POLES).outcome == "published", "the pinned version itself comes back"
    assert sql(COUNT) == [(5,)]


def test_a_layer_pinned_while_a_load_stages_is_not_published_over(loader, sql, target):
    """What was staged is kept, and published without loading once the layer is unpinned."""
    loader.load(POLES, rows(5))
    with psycopg.connect(target.conninfo) as reader:
        reader.execute(COUNT)

        def pin_it() -> None:
            pinned(loader)
            reader.rollback()

        with when_logged(loader, "publishing public.poles waits for", pin_it):
            held = loader.load(POLES, rows(6))
    assert (held.outcome, held.held.staged) == ("pinned", True)
    assert sql(COUNT) == [(5,)]
    assert "staged and audited already" in loader.log[-1]
    unpin(POLES, target)
    assert loader.load(POLES).outcome == "published"
    assert sql("SELECT sync_type FROM postgres_sync.sync_status ORDER BY sync_id DESC LIMIT 2") == [
        ("PUBLISH",), ("PINNED",),
    ]  # fmt: skip


def test_a_pin_and_a_publish_come_one_after_the_other(loader, sql, target, monkeypatch):
    """Where a publish is about to commit, the pin waits for it, and then pins what readers see."""
    monkeypatch.setattr("flux_assets.layers.rollback._LEASE_WAIT_MS", 600_000)
    loader.load(POLES, rows(5))
    second = loader.load(POLES, rows(6)).version
    rolled_back(loader)
    unpin(POLES, target)
    layer, done = Layer("public", POLES), []
    with target.session("publisher") as publisher, publisher.transaction():
        (found,) = [each for each in Version.known(publisher, layer) if each.version == second]
        ((going,),) = sql("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'poles'::regclass")
        publisher.execute("SELECT FROM postgres_sync.layer_leases FOR UPDATE")
        thread = threading.Thread(target=lambda: done.append(pinned(loader).pin.version))
        thread.start()
        while not sql("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"):
            assert thread.is_alive()
        for statement in found.making_current(layer):
            publisher.execute(statement)
        publisher.execute(f"ALTER TABLE public.poles DETACH PARTITION {going}")
        publisher.execute(f"ALTER TABLE public.poles ATTACH PARTITION flux_versions.{found.relation} DEFAULT")
    thread.join()
    assert done == [second]
    assert sql(COUNT) == [(6,)]


def test_a_publish_that_never_ends_keeps_nobody_waiting_for_ever(loader, target, monkeypatch):
    loader.load(POLES, rows(5))
    monkeypatch.setattr("flux_assets.layers.rollback._LEASE_WAIT_MS", 1)
    with psycopg.connect(target.conninfo) as publisher:
        publisher.execute("SELECT FROM postgres_sync.layer_leases FOR UPDATE")
        with pytest.raises(BusyError, match="is being published right now"):
            pinned(loader)


def test_the_view_tells_since_when_by_whom_and_what_waits(loader, reader_sql, target):
    first = loader.load(POLES, rows(5)).version
    told = "SELECT pinned_at IS NOT NULL, pinned_by, pin_reason, held_version, state, trusted, detail"
    told += " FROM postgres_sync.v_table_status"
    assert reader_sql(told) == [(False, None, None, None, "live", True, "")]
    pinned(loader, reason="v2 lacks a feeder")
    detail = "pinned just now (v2 lacks a feeder): no load publishes another version before `flux-assets unpin poles`"
    assert reader_sql(told) == [(True, "flux", "v2 lacks a feeder", None, "live", True, detail)]
    checked = table_statuses(target, [POLES])[0].checked_at
    held = loader.load(POLES, rows(6)).held.version
    assert reader_sql(told) == [
        (True, "flux", "v2 lacks a feeder", held, "live", True, f"{detail}; version {held[:12]} waits")
    ]
    (status,) = table_statuses(target, [POLES])
    assert (status.version, status.pin_reason, status.held_version) == (first, "v2 lacks a feeder", held)
    assert status.checked_at == checked, "the layer is not what its source is"
    (loader.source.folder / POLES.file_name).unlink()
    with pytest.raises(ReleaseError):
        loader.load(POLES)
    (status,) = table_statuses(target, [POLES])
    assert (status.detail, status.last_attempt) == (f"{detail}; version {held[:12]} waits", "failed")
    unpin(POLES, target)
    loader.load(POLES, rows(6))
    assert reader_sql(told)[0][:5] == (False, None, None, None, "live")


def test_a_layer_that_was_rolled_back_before_there_were_pins_is_held(loader, sql, target):
    loader.load(POLES, rows(5))
    loader.load(POLES, rows(6))
    rolled_back(loader)
    sql("DROP TABLE postgres_sync.layer_pins CASCADE")
    sql("COMMENT ON SCHEMA postgres_sync IS 'flux_assets: ledger, register and leases, revision 4.'")
    assert layer_pins(target) == {}
    assert loader.load(POLES).outcome == "pinned"
    unpin(POLES, target)
    sql("COMMENT ON SCHEMA postgres_sync IS 'flux_assets: ledger, register and leases, revision 4.'")
    assert loader.load(POLES).outcome == "published", "an upgrade that is run again pins nothing"


def test_another_schema_has_pins_of_its_own(loader, sql, target):
    sql("CREATE SCHEMA gis")
    elsewhere = Loader(type(target)(conninfo=target.conninfo, schema="gis"), loader.source)
    for one in (loader, elsewhere):
        one.load(POLES, rows(5))
    pinned(loader)
    assert (loader.load(POLES, rows(6)).outcome, elsewhere.load(POLES).outcome) == ("pinned", "published")
    assert layer_pins(elsewhere.target) == {}
