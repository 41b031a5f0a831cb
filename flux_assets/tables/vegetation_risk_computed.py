"""Trees with what they could fall on: the nearest line, the nearest equipment, and the risk that follows."""

from geoalchemy2 import Geometry
from sqlalchemy import Column, DateTime, Double, Index, MetaData, String, Table, Text

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import AcceptedValues, Computed, Position, Range, Reference, Volume

TABLE = StaticTable(
    table=Table(
        "vegetation_risk_computed",
        MetaData(),
        Column("tree_id", String(100), primary_key=True, comment="Identifier of the tree."),
        Column("species", String(50), comment="Class of the plant, as vegetation_risk has it."),
        Column("subtype", String(100), comment="Species or finer kind of the plant."),
        Column("longitude", Double, comment="Longitude in degrees (EPSG:4326)."),
        Column("latitude", Double, comment="Latitude in degrees (EPSG:4326)."),
        Column("height_m", Double, comment="Height of the tree, in metres."),
        Column("canopy_radius_m", Double, comment="Radius of the crown, in metres."),
        Column(
            "fall_zone_m", Double, comment="How far the tree may reach when it falls: 1.3 times its height, in metres."
        ),
        Column("distance_to_line_m", Double, comment="Distance from the stem to the nearest line, in metres."),
        Column("nearest_line_id", String(100), comment="The nearest line, by its power_line_id."),
        Column("nearest_line_class", String(50), comment="Class of that line."),
        Column(
            "nearest_asset_type", String(50), comment="Kind of the nearest equipment: transformer, substation or pole."
        ),
        Column("nearest_asset_id", Text, comment="Identifier of that equipment."),
        Column("distance_to_asset_m", Double, comment="Distance from the stem to it, in metres."),
        Column("risk_score", Double, comment="From 0 (out of reach) to 1 (at the line), falling with the distance."),
        Column("risk_level", String(20), comment="By distance and height: critical, warning, monitor or safe."),
        Column("risk_explanation", Text, comment="Why the tree has that level, in a sentence."),
        Column("computed_at", DateTime, comment="When the row was computed (UTC)."),
        Column("geom", Geometry("POINT", srid=4326, spatial_index=False), comment="Position of the stem (EPSG:4326)."),
        Index("vegetation_risk_computed_geom_idx", "geom", postgresql_using="gist"),
        Index("vegetation_risk_computed_risk_level_idx", "risk_level"),
        Index("vegetation_risk_computed_nearest_line_id_idx", "nearest_line_id"),
        comment="Trees with the nearest line and equipment, and the risk computed from the distance.",
    ),
    file="none",
    computed=Computed.beside(
        __file__,
        inputs=("grid_assets_cache", "power_lines_spatial", "substations", "transformers", "vegetation_risk"),
    ),
    references=(Reference(column="nearest_line_id", to_table="power_lines_spatial", to_column="power_line_id"),),
    ranges=(Range(column="risk_score", minimum=0, maximum=1),),
    accepted=(AcceptedValues(column="risk_level", values=("critical", "warning", "monitor", "safe")),),
    volume=Volume(minimum=20),
    positions=(Position(longitude="longitude", latitude="latitude", same_as="geom"),),
    release_rows=49_265,
    draw="#3f7d4e",
)
