"""Every asset of the grid in one table: what the map reads."""

from geoalchemy2 import Geometry
from sqlalchemy import Column, DateTime, Double, Index, Integer, MetaData, String, Table, Text, text

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import AcceptedValues, Position, Range, Volume

TABLE = StaticTable(
    table=Table(
        "grid_assets_cache",
        MetaData(),
        Column("asset_id", Text, primary_key=True, comment="Identifier of the asset, the one of its own table."),
        Column("asset_name", Text, comment="Name shown on the map."),
        Column("asset_type", Text, comment="Kind of asset: substation, transformer, pole or meter."),
        Column("latitude", Double, comment="Latitude in degrees (EPSG:4326)."),
        Column("longitude", Double, comment="Longitude in degrees (EPSG:4326)."),
        Column("circuit_id", Text, comment="Circuit that the asset belongs to; none for a substation."),
        Column("load_percent", Double, comment="Load as a share of the rating, in percent."),
        Column("health_score", Double, comment="Condition, from 0 (failing) to 100 (as new)."),
        Column("status", Text, comment="Operating state of the asset."),
        Column("voltage", Text, comment="Nominal voltage as the utility writes it."),
        Column("last_updated", DateTime, comment="When the asset's values were last computed (UTC)."),
        Column("geom", Geometry("POINT", srid=4326, spatial_index=False), comment="Position of the asset (EPSG:4326)."),
        Column("rotation_rad", Double, comment="Angle at which the map turns the asset's symbol, in radians."),
        Column("city", String(100), comment="City that the asset is in."),
        Column("zip_code", String(20), comment="Postal code, as text: leading zeros count."),
        Column("county_name", String(100), comment="County that the asset is in."),
        Column("connected_customers", Integer, comment="Number of customers supplied through the asset."),
        Column("service_address", String(200), comment="Street address, for meters."),
        Column("customer_name", String(200), comment="Name of the customer, for meters."),
        Column("customer_segment", String(50), comment="Tariff segment of the customer, for meters."),
        Column("circuits_served", Integer, comment="Number of circuits that leave the asset, for substations."),
        Column("capacity_mva", Double, comment="Installed transformer capacity in MVA, for substations."),
        Column("substation_name", String(200), comment="Name of the substation that feeds the asset."),
        Index("grid_assets_cache_geom_idx", "geom", postgresql_using="gist"),
        Index(
            "grid_assets_cache_geography_idx",
            text("(st_setsrid(st_makepoint(longitude, latitude), 4326))::geography"),
            postgresql_using="gist",
        ),
        Index("grid_assets_cache_asset_type_idx", "asset_type"),
        Index("grid_assets_cache_circuit_id_idx", "circuit_id"),
        Index("grid_assets_cache_asset_type_health_score_idx", "asset_type", "health_score"),
        comment="Every substation, transformer, pole and meter in one table, as the map reads them.",
    ),
    # 300 % is the short-time emergency limit that loading guides give for distribution transformers.
    ranges=(
        Range(column="health_score", minimum=0, maximum=100),
        Range(column="load_percent", minimum=0, maximum=300),
    ),
    accepted=(
        AcceptedValues(column="asset_type", values=("substation", "transformer", "pole", "meter")),
        AcceptedValues(column="status", values=("IN_SERVICE", "MAINTENANCE", "OUT_OF_SERVICE")),
        AcceptedValues(column="customer_segment", values=("RESIDENTIAL", "COMMERCIAL", "INDUSTRIAL")),
    ),
    volume=Volume(minimum=500),
    positions=(Position(longitude="longitude", latitude="latitude", same_as="geom"),),
    release_rows=726_263,
    draw="#4a4e69",
)
