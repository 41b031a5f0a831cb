"""Smart meters, each with the transformer and the circuit that it hangs on."""

from geoalchemy2 import Geometry
from sqlalchemy import Column, Double, Index, MetaData, String, Table, text

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import Position, Reference, Volume

TABLE = StaticTable(
    table=Table(
        "meter_locations_enhanced",
        MetaData(),
        Column("meter_id", String(50), primary_key=True, comment="Identifier of the meter."),
        Column("transformer_id", String(50), comment="Transformer that supplies the meter."),
        Column("latitude", Double, comment="Latitude in degrees (EPSG:4326)."),
        Column("longitude", Double, comment="Longitude in degrees (EPSG:4326)."),
        Column("circuit_id", String(50), comment="Circuit that the transformer hangs on."),
        Column("city", String(100), comment="City that the meter is in."),
        Column("zip_code", String(10), comment="Postal code, as text: leading zeros count."),
        Column("county_name", String(100), comment="County that the meter is in."),
        Column("geom", Geometry("POINT", srid=4326, spatial_index=False), comment="Position of the meter (EPSG:4326)."),
        Index("meter_locations_enhanced_geom_idx", "geom", postgresql_using="gist"),
        Index("meter_locations_enhanced_geography_idx", text("(geom)::geography"), postgresql_using="gist"),
        Index("meter_locations_enhanced_circuit_id_idx", "circuit_id"),
        Index("meter_locations_enhanced_transformer_id_idx", "transformer_id"),
        comment="Smart meter locations with circuit, city and county.",
    ),
    references=(Reference(column="transformer_id", to_table="transformers", to_column="transformer_id"),),
    volume=Volume(minimum=20),
    positions=(Position(longitude="longitude", latitude="latitude", same_as="geom"),),
    release_rows=100_000,
    draw="#2a9d8f",
)
