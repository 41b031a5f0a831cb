"""The pictures of a synced table: the map hourly or when much changed, in reach ever after, and the line of syncs."""

import re
from dataclasses import replace

import dagster as dg
import pytest

from flux_assets.orchestration.names import Names
from flux_assets.orchestration.shown import pictures
from flux_assets.orchestration.shown.pictures import sync_pictures
from flux_assets.postgis.session import prepare
from flux_assets.spec.facts import Picture
from flux_assets.sync.result import TableResult
from flux_assets_tests.running import instance_in
from flux_assets_tests.synced import FAULTS, FEEDERS

PICTURE = Picture(colour_column="state", colours=(("OPEN", "#d62728"),), size_column="homes")
TABLE = replace(FAULTS, picture=PICTURE)
SYNCED = (
    "INSERT INTO postgres_sync.sync_status"
    " (layer_name, sync_type, status, rows_inserted, rows_deleted, source_instant, duration_seconds)"
    " VALUES ('faults', 'DELTA', 'SUCCESS', 1, 0, now(), 0.5)"
)


@pytest.fixture
def context(tmp_path, target, sql):
    """A table of one open fault, synced twice, and a history of Dagster in which nothing is yet."""
    with target.session("test") as session:
        prepare(session, "public")
    sql("CREATE TABLE faults (fault_id text, state text, homes int, geom geometry(POINT, 4326))")
    sql("INSERT INTO faults VALUES ('a', 'OPEN', 9, ST_Point(10, 50, 4326))")
    sql(SYNCED)
    sql(SYNCED)
    with instance_in(tmp_path / "dagster") as instance:
        yield dg.build_asset_context(instance=instance)


@pytest.fixture
def materialised(context, target):
    """Materialises the table with what a sync would show of it, and returns that."""

    def materialise(outcome, table=TABLE, **counts):
        done = TableResult(table=table.name, outcome=outcome, gate="test", **({"rows": 2} | counts))
        shown = sync_pictures(context, Names(), table, target, done)
        context.instance.report_runless_asset_event(dg.AssetMaterialization(table.name, metadata=shown))
        return {name: value.value for name, value in shown.items()}

    return materialise


def test_the_first_change_is_drawn(materialised):
    shown = materialised("changed")
    assert shown["preview"].startswith("![faults](data:image/png;base64,")
    assert "last 2: 1 to 2 rows, 0.5 to 0.5 s" in shown["history"]


def linked(instance, shown) -> str:
    """What the newest of the events has that the link lists: those up to its time."""
    until = int(re.search(r"/assets/faults\?view=events&time=(\d+)\)", shown["preview"])[1])
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey("faults"), before_timestamp=until / 1000)
    (record,) = instance.fetch_materializations(wanted, limit=1).records
    return record.asset_materialization.metadata["preview"].value


def test_within_the_hour_there_is_a_link_to_the_event_that_has_the_map(context, materialised):
    first = materialised("changed")
    for outcome in ("changed", "unchanged"):
        shown = materialised(outcome)
        assert shown["preview"].startswith("[as of ")
        assert linked(context.instance, shown) == first["preview"]
        assert shown["preview_drawn_at"] == first["preview_drawn_at"]


def test_an_hour_later_it_is_drawn_again(materialised, monkeypatch):
    materialised("changed")
    monkeypatch.setattr(pictures, "_SECONDS_BETWEEN_PREVIEWS", 0)
    assert materialised("unchanged")["preview"].startswith("[as of ")
    assert materialised("changed")["preview"].startswith("![faults]")


@pytest.mark.parametrize(("rows", "a_few", "one_more"), [(14, 9, 1), (1000, 199, 1), (0, 9, 1)])
def test_in_a_storm_it_is_drawn_again_as_soon_as_much_changed(materialised, rows, a_few, one_more):
    """One tick with much, or several with a little each: what the picture lacks adds up."""
    materialised("changed", rows=rows, inserted=rows)
    assert materialised("changed", rows=rows + a_few, inserted=a_few)["preview"].startswith("[as of ")
    assert materialised("unchanged", rows=rows + a_few)["preview_changes"] == a_few
    assert materialised("changed", rows=rows + a_few, updated=one_more)["preview"].startswith("![faults]")
    assert materialised("changed", rows=rows, updated=1)["preview"].startswith("[as of ")


def test_a_picture_whose_event_is_gone_is_drawn_again_and_not_linked_to(context, materialised, sql):
    """As pruning the history leaves it: the newest event stays, the one with the picture has gone."""
    materialised("changed")
    linking = materialised("unchanged")
    context.instance.wipe_assets([dg.AssetKey("faults")])
    gone = dg.AssetMaterialization("faults", metadata={
        "preview": dg.MetadataValue.md(linking["preview"]),
        "preview_drawn_at": dg.MetadataValue.timestamp(linking["preview_drawn_at"]),
        "preview_event_at": linking["preview_event_at"], "preview_rows": 2, "preview_changes": 0,
    })  # fmt: skip
    context.instance.report_runless_asset_event(gone)
    assert materialised("unchanged")["preview"].startswith("![faults]")
    context.instance.report_runless_asset_event(gone)
    sql("ALTER TABLE faults DROP COLUMN homes")
    assert "preview" not in materialised("unchanged"), "it cannot be drawn, and a link would lead nowhere"


def test_an_old_picture_is_drawn_again_before_its_event_is_pruned(materialised, monkeypatch):
    materialised("changed")
    monkeypatch.setattr(pictures, "_LONGEST_SECONDS", 0)
    assert materialised("unchanged")["preview"].startswith("![faults]")


def test_a_sync_that_changed_nothing_hands_the_line_on(materialised, sql):
    first = materialised("changed")
    sql("DROP TABLE postgres_sync.sync_status CASCADE")
    assert materialised("unchanged")["history"] == first["history"]


def test_what_cannot_be_drawn_is_left_out(materialised, sql):
    sql("DROP TABLE faults")
    sql("DROP TABLE postgres_sync.sync_status CASCADE")
    assert materialised("changed") == {}


def test_a_table_without_a_picture_has_the_line_alone(materialised, sql):
    sql("UPDATE postgres_sync.sync_status SET layer_name = 'feeders'")
    assert materialised("changed", FEEDERS).keys() == {"history"}
