"""Edges of the network: which asset is connected with which."""

from sqlalchemy import Column, DateTime, Double, Index, MetaData, String, Table

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import AcceptedValues, Position, Reference, Volume

TABLE = StaticTable(
    table=Table(
        "topology_connections_cache",
        MetaData(),
        Column("from_asset_id", String(255), comment="Asset at the source's end of the edge."),
        Column("to_asset_id", String(255), comment="Asset at the load's end of the edge."),
        Column("from_circuit_id", String(255), comment="Circuit of the asset at the source's end."),
        Column("to_circuit_id", String(255), comment="Circuit of the asset at the load's end."),
        Column("from_latitude", Double, comment="Latitude of the source's end, in degrees (EPSG:4326)."),
        Column("from_longitude", Double, comment="Longitude of the source's end, in degrees (EPSG:4326)."),
        Column("to_latitude", Double, comment="Latitude of the load's end, in degrees (EPSG:4326)."),
        Column("to_longitude", Double, comment="Longitude of the load's end, in degrees (EPSG:4326)."),
        Column("connection_type", String(50), comment="Kinds of asset joined, for example TRANSFORMER_TO_METER."),
        Column("last_updated", DateTime, comment="When the edge was last derived (UTC)."),
        Index("topology_connections_cache_from_asset_id_idx", "from_asset_id"),
        Index("topology_connections_cache_to_asset_id_idx", "to_asset_id"),
        Index("topology_connections_cache_from_circuit_id_idx", "from_circuit_id"),
        Index("topology_connections_cache_to_circuit_id_idx", "to_circuit_id"),
        comment="Edges of the network between assets; without a key, and a pair may occur more than once.",
    ),
    references=(
        Reference(column="from_asset_id", to_table="grid_assets_cache", to_column="asset_id"),
        Reference(column="to_asset_id", to_table="grid_assets_cache", to_column="asset_id"),
    ),
    accepted=(
        AcceptedValues(
            column="connection_type",
            values=("SUBSTATION_TO_TRANSFORMER", "TRANSFORMER_TO_TRANSFORMER", "TRANSFORMER_TO_METER"),
        ),
    ),
    volume=Volume(minimum=20),
    positions=(
        Position(longitude="from_longitude", latitude="from_latitude"),
        Position(longitude="to_longitude", latitude="to_latitude"),
    ),
    release_rows=153_592,
    draw="#9a8c98",
)
