"""Power line segments: the conductors of the circuits that leave the substations."""

from geoalchemy2 import Geometry
from sqlalchemy import Column, DateTime, Double, Index, Integer, MetaData, String, Table, text

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import AcceptedValues, Position, Reference, Volume

TABLE = StaticTable(
    table=Table(
        "grid_power_lines",
        MetaData(),
        Column("line_id", String(100), primary_key=True, comment="Identifier of the line segment."),
        Column("circuit_id", String(100), nullable=False, comment="Circuit that the segment belongs to."),
        Column("substation_id", String(50), nullable=False, comment="Substation that feeds the circuit."),
        Column("line_type", String(50), nullable=False, comment="Role of the segment, for example PRIMARY or LATERAL."),
        Column("voltage_class", String(20), comment="Nominal voltage as the utility writes it, for example 12.47kV."),
        Column("transformer_count", Integer, comment="Number of transformers that hang on the segment."),
        Column("meters_served", Integer, comment="Number of meters supplied through those transformers."),
        Column("line_length_m", Double, comment="Length of the segment, in metres."),
        Column(
            "geom",
            Geometry("LINESTRING", srid=4326, spatial_index=False),
            comment="Course of the segment, from the source outwards (EPSG:4326).",
        ),
        Column("centroid_lat", Double, comment="Latitude of the segment's middle, in degrees (EPSG:4326)."),
        Column("centroid_lon", Double, comment="Longitude of the segment's middle, in degrees (EPSG:4326)."),
        Column("created_at", DateTime, comment="When the segment was recorded (UTC)."),
        Index("grid_power_lines_geom_idx", "geom", postgresql_using="gist"),
        Index("grid_power_lines_geography_idx", text("(geom)::geography"), postgresql_using="gist"),
        Index("grid_power_lines_circuit_id_idx", "circuit_id"),
        Index("grid_power_lines_substation_id_idx", "substation_id"),
        Index("grid_power_lines_line_type_idx", "line_type"),
        comment="Power line segments with the circuit and the substation that feed them.",
    ),
    references=(Reference(column="substation_id", to_table="substations", to_column="substation_id"),),
    accepted=(AcceptedValues(column="line_type", values=("PRIMARY", "LATERAL", "SECONDARY")),),
    volume=Volume(minimum=20),
    positions=(Position(longitude="centroid_lon", latitude="centroid_lat"),),
    release_rows=13_104,
    draw="#e4572e",
    ground="#ddd7cb",
)
