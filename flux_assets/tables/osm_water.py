"""Water bodies, taken over from OpenStreetMap."""

from geoalchemy2 import Geometry
from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Numeric, String, Table, UniqueConstraint

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import AcceptedValues, Volume

TABLE = StaticTable(
    table=Table(
        "osm_water",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False, comment="Number of the row in the release."),
        Column(
            "osm_id", BigInteger, comment="OpenStreetMap's identifier of the way or relation; no two rows share one."
        ),
        Column("name", String(255), comment="Name of the water body; most ponds have none."),
        Column("water_type", String(50), comment="Kind of water: river, stream, canal, or water for anything else."),
        Column("acres", Numeric(12, 2), comment="Area of the water surface, in acres."),
        Column(
            "geom",
            Geometry("GEOMETRY", srid=4326, spatial_index=False),
            comment="Water surface: a polygon or multipolygon, islands as holes (EPSG:4326).",
        ),
        UniqueConstraint("osm_id", name="osm_water_osm_id_key"),
        Index("osm_water_geom_idx", "geom", postgresql_using="gist"),
        Index("osm_water_water_type_idx", "water_type"),
        comment="Rivers, bayous, lakes and ponds from OpenStreetMap.",
    ),
    # Those of the release, which takes no others over from OpenStreetMap.
    accepted=(AcceptedValues(column="water_type", values=("water", "river", "stream", "canal")),),
    volume=Volume(minimum=20),
    release_rows=12_758,
    draw="#8fbcd4",
    ground="#d3e4f0",
)
