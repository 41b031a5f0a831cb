"""Building footprints: the largest layer, drawn extruded to its heights."""

from geoalchemy2 import Geometry
from sqlalchemy import Column, Double, Index, Integer, MetaData, String, Table, text

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import Volume

TABLE = StaticTable(
    table=Table(
        "building_footprints",
        MetaData(),
        Column("building_id", String(50), primary_key=True, comment="Identifier of the building."),
        Column("building_name", String(255), comment="Name of the building where it has one; most have none."),
        Column("building_type", String(50), comment="Use of the building, for example residential."),
        Column("height_meters", Double, comment="Height of the roof above the ground, in metres."),
        Column("num_floors", Integer, comment="Number of floors above the ground."),
        Column(
            "geom",
            Geometry("POLYGON", srid=4326, spatial_index=False),
            comment="Outline on the ground, courtyards as holes (EPSG:4326).",
        ),
        Index("building_footprints_geom_idx", "geom", postgresql_using="gist"),
        Index("building_footprints_geography_idx", text("(geom)::geography"), postgresql_using="gist"),
        comment="Building polygons with heights, drawn extruded in 3D.",
    ),
    # OpenStreetMap's vocabulary of buildings is open, so no list of kinds would be right.
    volume=Volume(minimum=5_000),
    release_rows=2_670_707,
    draw="#c8b6a2",
)
