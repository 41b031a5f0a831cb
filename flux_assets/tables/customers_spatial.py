"""Customer service points: who is supplied, where, and through which meter."""

from geoalchemy2 import Geometry
from sqlalchemy import Column, Double, Index, MetaData, String, Table, text

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import AcceptedValues, Position, Reference, Volume

TABLE = StaticTable(
    table=Table(
        "customers_spatial",
        MetaData(),
        Column("customer_id", String(50), primary_key=True, comment="Identifier of the customer."),
        Column("full_name", String(200), comment="Name of the person or company supplied."),
        Column("customer_segment", String(50), comment="Tariff segment, for example RESIDENTIAL."),
        Column("service_address", String(300), comment="Street address of the service point."),
        Column("city", String(100), comment="City of the service point."),
        Column("county", String(100), comment="County of the service point."),
        Column("meter_id", String(50), comment="Meter that counts the customer's consumption."),
        Column("transformer_id", String(50), comment="Transformer that supplies the service point."),
        Column("latitude", Double, comment="Latitude in degrees (EPSG:4326)."),
        Column("longitude", Double, comment="Longitude in degrees (EPSG:4326)."),
        Column(
            "geom",
            Geometry("POINT", srid=4326, spatial_index=False),
            comment="Position of the service point (EPSG:4326).",
        ),
        Index("customers_spatial_geom_idx", "geom", postgresql_using="gist"),
        Index("customers_spatial_geography_idx", text("(geom)::geography"), postgresql_using="gist"),
        Index("customers_spatial_customer_segment_idx", "customer_segment"),
        Index("customers_spatial_transformer_id_idx", "transformer_id"),
        comment="Customer service points with the meter and the transformer that supply them.",
    ),
    references=(
        Reference(column="transformer_id", to_table="transformers", to_column="transformer_id"),
        Reference(column="meter_id", to_table="meter_locations_enhanced", to_column="meter_id"),
    ),
    accepted=(AcceptedValues(column="customer_segment", values=("RESIDENTIAL", "COMMERCIAL", "INDUSTRIAL")),),
    volume=Volume(minimum=20),
    positions=(Position(longitude="longitude", latitude="latitude", same_as="geom"),),
    release_rows=100_000,
    draw="#6a7fdb",
)
