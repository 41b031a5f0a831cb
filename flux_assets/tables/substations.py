"""Substations: where transmission meets distribution; circuits start here."""

from geoalchemy2 import Geography
from sqlalchemy import Column, Date, Double, Index, MetaData, String, Table

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import AcceptedValues, Position, Volume

TABLE = StaticTable(
    table=Table(
        "substations",
        MetaData(),
        Column("substation_id", String(50), primary_key=True, comment="Identifier of the substation."),
        Column("substation_name", String(200), comment="Name that dispatchers use."),
        Column("latitude", Double, comment="Latitude in degrees (EPSG:4326)."),
        Column("longitude", Double, comment="Longitude in degrees (EPSG:4326)."),
        Column("capacity_mva", Double, comment="Installed transformer capacity, in MVA."),
        Column("voltage_level", String(50), comment="Voltages of the busbars, as the utility writes them."),
        Column("commissioned_date", Date, comment="Day the substation went into service."),
        Column("operational_status", String(50), comment="Operating state, for example ACTIVE."),
        Column(
            "geom",
            Geography("POINT", srid=4326, spatial_index=False),
            comment="Position, as geography: distances come out in metres.",
        ),
        Index("substations_geom_idx", "geom", postgresql_using="gist"),
        comment="Substations.",
    ),
    accepted=(AcceptedValues(column="operational_status", values=("ACTIVE", "MAINTENANCE", "PLANNED")),),
    volume=Volume(minimum=1),
    positions=(Position(longitude="longitude", latitude="latitude", same_as="geom"),),
    release_rows=275,
    draw="#b5179e",
)
