"""All that is done to a database, in one go: for databases whose owner, schemas or server are not the usual ones."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from flux_assets.doctor.examination import examine
from flux_assets.doctor.finding import Finding
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.eject import eject
from flux_assets.layers.load import load_layer
from flux_assets.layers.rollback import rollback, unpin
from flux_assets.layers.views import make_view
from flux_assets.settings import load_settings
from flux_assets.spec import StaticTable, View
from flux_assets.spec.facts import Computed
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, made_up, rows
from flux_assets_tests.synced import Utility

POLES = made_up()
LISTED = View(
    name="pole_list",
    description="Poles by name.",
    inputs=("poles",),
    query="SELECT id, name, ST_Buffer(geom, 0.1) AS around FROM poles",
)
SEED = """
INSERT INTO FEEDERS VALUES ('L1', 'one', 1);
INSERT INTO FAULTS SELECT 'F1', 'L1', 'OPEN', SYSDATE(), 1, -95, 29
"""
_COUNTS = """
SELECT (SELECT count(*) FROM {0}.poles), (SELECT count(*) FROM {0}.pole_list), (SELECT sum(poles) FROM {0}.pole_names)
"""


def counted_by_name() -> StaticTable:
    """A layer that is computed from the poles, with a geometry of its own."""
    parts = [
        sa.Column("name", sa.String(50), primary_key=True, comment="Name."),
        sa.Column("poles", sa.Integer, comment="How many."),
        columns()[-1],
    ]
    query = "SELECT name, count(*) AS poles, ST_Centroid(ST_Collect(geom)) AS geom FROM poles GROUP BY name"
    computed = Computed(inputs=("poles",), query=query)
    return made_up("pole_names", parts, computed=computed, file="none", positions=(), ranges=(), references=())


def go(utility: Utility, folder: Path) -> None:
    """Load, compute, roll back, take over, eject and sync in the utility's target, and ask how it all stands."""
    target, options, log = utility.target, LoadOptions(), utility.log.append
    names, loader = counted_by_name(), Loader(utility.target, ReleaseFolder(folder))

    def counts() -> tuple[int, ...]:
        load_layer(names, None, target, options, log)
        with target.session("test") as session:
            return session.execute(_COUNTS.format(target.schema).encode()).fetchone() or ()

    assert loader.load(POLES, rows(20)).outcome == "published"
    make_view(LISTED, target, options, log)
    assert counts() == (20, 20, 20)
    assert loader.load(POLES, rows(30)).outcome == "published"
    assert counts() == (30, 30, 30)
    rollback(POLES, target, options, log)
    assert counts() == (20, 20, 20)
    unpin(POLES, target)
    eject(POLES, target, options, log)
    assert loader.load(POLES, rows(31), take_over=True).outcome == "published"
    assert counts() == (31, 31, 31)
    utility.tell(SEED)
    assert {table.outcome for table in utility.synced().values()} == {"changed"}
    utility.tell("UPDATE FAULTS SET HOMES = 5, LON = -96")
    utility.synced()
    with target.session("test") as session:
        faults = f"SELECT homes, ST_X(geom) FROM {target.schema}.faults"
        assert session.execute(faults.encode()).fetchall() == [(5, -96)]
        stand = "SELECT layer_name, state, trusted FROM postgres_sync.v_table_status ORDER BY 1"
        assert session.execute(stand).fetchall() == [
            ("faults", "live", True), ("feeders", "live", True), ("pole_names", "live", True), ("poles", "live", True),
        ]  # fmt: skip
        spatial = "SELECT DISTINCT f_table_name FROM geometry_columns WHERE f_table_schema = %s ORDER BY 1"
        assert [name for (name,) in session.execute(spatial, [target.schema])] == [
            "faults", "pole_list", "pole_names", "poles", "poles_before_flux",
        ]  # fmt: skip


def examined(utility: Utility) -> list[Finding]:
    """What doctor finds about the tables of `go`, where the settings lead to the target."""
    load_settings.cache_clear()
    return list(examine([POLES, *utility.tables]))


def wrong(found: list[Finding]) -> list[Finding]:
    """What does not work in the target, or not as it should."""
    return [each for each in found if each.outcome in {"failed", "warning"} and each.group != "Snowflake"]
