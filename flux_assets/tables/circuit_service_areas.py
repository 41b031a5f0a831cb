"""The area that each circuit serves: the hull of its assets, with what is in it."""

from geoalchemy2 import Geometry
from sqlalchemy import Column, Double, Index, Integer, MetaData, String, Table

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import Computed, Position, Range, Reference, Volume

TABLE = StaticTable(
    table=Table(
        "circuit_service_areas",
        MetaData(),
        Column("circuit_id", String(100), primary_key=True, comment="Identifier of the circuit."),
        Column("area_id", String(100), comment="Identifier of the area; each circuit has one, of the same name."),
        Column("circuit_name", String(200), comment="Name of the circuit, with its substation where that is known."),
        Column("substation_id", String(50), comment="Substation that feeds most of the circuit's assets."),
        Column("voltage_level_kv", Double, comment="Nominal voltage of most of its assets, in kV."),
        Column("transformer_count", Integer, comment="Number of its transformers."),
        Column("meter_count", Integer, comment="Number of its meters."),
        Column(
            "customer_count", Integer, comment="Number of customers that its transformers supply, else of its meters."
        ),
        Column("asset_count", Integer, comment="Number of its assets that have a position."),
        Column("area_sq_km", Double, comment="Area of the hull, in square kilometres."),
        Column("geom", Geometry("POLYGON", srid=4326, spatial_index=False), comment="Convex hull (EPSG:4326)."),
        Column("bounds_geom", Geometry("POLYGON", srid=4326, spatial_index=False), comment="Its box (EPSG:4326)."),
        Column("centroid_geom", Geometry("POINT", srid=4326, spatial_index=False), comment="Its centroid (EPSG:4326)."),
        Column("centroid_lat", Double, comment="Latitude of the centroid, in degrees (EPSG:4326)."),
        Column("centroid_lon", Double, comment="Longitude of the centroid, in degrees (EPSG:4326)."),
        Column("center_latitude", Double, comment="The same as centroid_lat, in degrees (EPSG:4326)."),
        Column("center_longitude", Double, comment="The same as centroid_lon, in degrees (EPSG:4326)."),
        Column("min_lat", Double, comment="Southern edge, in degrees (EPSG:4326)."),
        Column("max_lat", Double, comment="Northern edge, in degrees (EPSG:4326)."),
        Column("min_lon", Double, comment="Western edge, in degrees (EPSG:4326)."),
        Column("max_lon", Double, comment="Eastern edge, in degrees (EPSG:4326)."),
        Index("circuit_service_areas_geom_idx", "geom", postgresql_using="gist"),
        Index("circuit_service_areas_bounds_geom_idx", "bounds_geom", postgresql_using="gist"),
        Index("circuit_service_areas_centroid_geom_idx", "centroid_geom", postgresql_using="gist"),
        Index("circuit_service_areas_substation_id_idx", "substation_id"),
        comment="The area that each circuit serves, with counts of what is in it.",
    ),
    file="none",
    computed=Computed.beside(__file__, inputs=("grid_assets_cache", "meter_locations_enhanced", "substations")),
    references=(Reference(column="substation_id", to_table="substations", to_column="substation_id"),),
    ranges=(Range(column="area_sq_km", minimum=0, maximum=100_000),),
    volume=Volume(minimum=1),
    positions=(
        Position(longitude="centroid_lon", latitude="centroid_lat", same_as="centroid_geom"),
        Position(longitude="center_longitude", latitude="center_latitude", same_as="centroid_geom"),
        Position(longitude="min_lon", latitude="min_lat"),
        Position(longitude="max_lon", latitude="max_lat"),
    ),
    release_rows=1_275,
    draw="#7c6ea8",
)
