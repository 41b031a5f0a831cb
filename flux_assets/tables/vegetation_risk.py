"""Trees near power lines, each with the risk that it poses to the nearest one."""

from geoalchemy2 import Geometry
from sqlalchemy import Column, Double, Index, MetaData, String, Table, text

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import AcceptedValues, Position, Range, Reference, Volume

TABLE = StaticTable(
    table=Table(
        "vegetation_risk",
        MetaData(),
        Column("tree_id", String(100), primary_key=True, comment="Identifier of the tree."),
        Column("class", String(50), comment="Broad class of the plant: tree."),
        Column("subtype", String(100), comment="Species or finer kind of the plant."),
        Column("longitude", Double, comment="Longitude in degrees (EPSG:4326)."),
        Column("latitude", Double, comment="Latitude in degrees (EPSG:4326)."),
        Column("height_m", Double, comment="Height of the tree, in metres."),
        Column("canopy_radius_m", Double, comment="Radius of the crown, in metres."),
        Column("risk_score", Double, comment="Risk to the nearest line, from 0 (none) to 1 (highest)."),
        Column("risk_level", String(20), comment="The risk score as a word, for example warning."),
        Column("distance_to_line_m", Double, comment="Distance from the stem to the nearest line, in metres."),
        Column("nearest_line_id", String(100), comment="Line segment nearest to the tree."),
        Column("nearest_line_voltage_kv", Double, comment="Nominal voltage of that line, in kV."),
        Column(
            "clearance_deficit_m",
            Double,
            comment="Metres of clearance missing between crown and line; 0 when there is enough.",
        ),
        Column(
            "years_to_encroachment",
            Double,
            comment="Years of growth until the crown enters the clearance zone; 0 when it already has.",
        ),
        Column("data_source", String(100), comment="Survey or model that the tree was taken from."),
        Column("geom", Geometry("POINT", srid=4326, spatial_index=False), comment="Position of the stem (EPSG:4326)."),
        Index("vegetation_risk_geom_idx", "geom", postgresql_using="gist"),
        Index("vegetation_risk_geography_idx", text("(geom)::geography"), postgresql_using="gist"),
        Index("vegetation_risk_risk_level_idx", "risk_level"),
        comment="Trees near power lines, with clearances and a risk score.",
    ),
    references=(Reference(column="nearest_line_id", to_table="grid_power_lines", to_column="line_id"),),
    ranges=(Range(column="risk_score", minimum=0, maximum=1),),
    accepted=(
        AcceptedValues(column="class", values=("tree",)),
        AcceptedValues(column="risk_level", values=("critical", "warning", "monitor", "safe")),
    ),
    volume=Volume(minimum=20),
    positions=(Position(longitude="longitude", latitude="latitude", same_as="geom"),),
    release_rows=49_265,
    draw="#5b8e55",
)
