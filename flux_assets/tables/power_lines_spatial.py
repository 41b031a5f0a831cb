"""Power lines as the map's queries know them: a file of newer releases, else made from the segments of the grid."""

from geoalchemy2 import Geometry
from sqlalchemy import Column, Double, Index, MetaData, String, Table, text

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import Computed, Position, Range, Volume


def _simplified(degrees: str) -> str:
    return f"(st_simplifypreservetopology(geom, '{degrees}'::double precision))::geometry(LineString,4326)"


TABLE = StaticTable(
    table=Table(
        "power_lines_spatial",
        MetaData(),
        Column("power_line_id", String(100), primary_key=True, comment="Identifier of the line."),
        Column("class", String(50), comment="Role of the line, for example PRIMARY."),
        Column("length_meters", Double, comment="Length of the line, in metres."),
        Column("centroid_lon", Double, comment="Longitude of the line's middle, in degrees (EPSG:4326)."),
        Column("centroid_lat", Double, comment="Latitude of the line's middle, in degrees (EPSG:4326)."),
        Column("geom", Geometry("LINESTRING", srid=4326, spatial_index=False), comment="Course (EPSG:4326)."),
        Index("power_lines_spatial_geom_idx", "geom", postgresql_using="gist"),
        Index("power_lines_spatial_geography_idx", text("(geom)::geography"), postgresql_using="gist"),
        # By these the views of simplified lines find what is in a frame.
        Index("power_lines_spatial_lod_mid_idx", text(_simplified("0.001")), postgresql_using="gist"),
        Index("power_lines_spatial_lod_overview_idx", text(_simplified("0.01")), postgresql_using="gist"),
        Index("power_lines_spatial_class_idx", "class"),
        comment="Power lines with their class and length.",
    ),
    file="optional",
    computed=Computed.beside(__file__, inputs=("grid_power_lines",)),
    ranges=(Range(column="length_meters", minimum=0, maximum=1_000_000),),
    volume=Volume(minimum=1),
    positions=(Position(longitude="centroid_lon", latitude="centroid_lat"),),
    release_rows=5_141,
    draw="#c1440e",
)
