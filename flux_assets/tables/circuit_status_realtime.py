"""Circuits as they stand now: master data of the warehouse, outages and load as known here."""

from datetime import timedelta

from sqlalchemy import Column, DateTime, Double, Index, Integer, MetaData, String, Table

from flux_assets.spec import DynamicTable
from flux_assets.spec.facts import AcceptedValues, Derived, Freshness, Position, Range, Reference, SourceColumn, Volume

TABLE = DynamicTable(
    table=Table(
        "circuit_status_realtime",
        MetaData(),
        Column("circuit_id", String(50), primary_key=True, comment="Identifier of the circuit."),
        Column("circuit_name", String(200), comment="Name that dispatchers use."),
        Column("substation_id", String(50), comment="Substation that feeds the circuit."),
        Column("voltage_class", String(20), comment="Nominal voltage as the utility writes it."),
        Column("status", String(20), comment="State of the circuit; ENERGIZED where the source has none."),
        Column(
            "load_percent",
            Double,
            comment="Mean load of the circuit's assets in grid_assets_cache, in percent; none when none has a load.",
        ),
        Column("customers_served", Integer, comment="Number of customers on the circuit."),
        Column(
            "outage_count", Integer, comment="Number of the circuit's outages that are active, assigned or in progress."
        ),
        Column("last_updated", DateTime, comment="When the sync wrote the row (UTC)."),
        Column("substation_name", String(200), comment="Name of the substation that feeds the circuit."),
        Column("avg_load_percent", Double, comment="Mean load of the circuit's assets, in percent."),
        Column("avg_health_score", Double, comment="Mean condition of the circuit's assets, from 0 to 100."),
        Column("centroid_lat", Double, comment="Mean latitude of the circuit's assets, in degrees (EPSG:4326)."),
        Column("centroid_lon", Double, comment="Mean longitude of the circuit's assets, in degrees (EPSG:4326)."),
        Index("circuit_status_realtime_status_idx", "status"),
        Index("circuit_status_realtime_substation_id_idx", "substation_id"),
        comment="Every circuit with its state, its open outages, and the load and health of its assets.",
    ),
    references=(Reference(column="substation_id", to_table="substations", to_column="substation_id"),),
    ranges=(
        Range(column="load_percent", minimum=0, maximum=300),
        Range(column="avg_load_percent", minimum=0, maximum=300),
        Range(column="avg_health_score", minimum=0, maximum=100),
    ),
    accepted=(AcceptedValues(column="status", values=("ENERGIZED", "DE_ENERGIZED", "MAINTENANCE")),),
    volume=Volume(minimum=1),
    # Master data: switching moves it now and then, a quiet month does not.
    freshness=Freshness(still=timedelta(days=30)),
    positions=(Position(longitude="centroid_lon", latitude="centroid_lat"),),
    owner="team:operations",
    source="CIRCUIT_METADATA",
    source_columns=(
        SourceColumn(target="circuit_id", names=("CIRCUIT_ID",), required=True),
        SourceColumn(target="circuit_name", names=("CIRCUIT_NAME",)),
        SourceColumn(target="substation_id", names=("SUBSTATION_ID",)),
        SourceColumn(target="voltage_class", names=("VOLTAGE_CLASS",)),
        SourceColumn(target="status", names=("STATUS",), otherwise="ENERGIZED"),
        SourceColumn(target="customers_served", names=("CUSTOMER_COUNT",)),
    ),
    derived=(
        *(
            Derived(
                target=target,
                from_table="grid_assets_cache",
                here="circuit_id",
                there="circuit_id",
                function="avg",
                of_column=column,
                other_axis=other_axis,
            )
            for target, column, other_axis in (
                ("load_percent", "load_percent", None),
                ("avg_load_percent", "load_percent", None),
                ("avg_health_score", "health_score", None),
                ("centroid_lat", "latitude", "longitude"),
                ("centroid_lon", "longitude", "latitude"),
            )
        ),
        Derived(
            target="substation_name",
            from_table="substations",
            here="substation_id",
            there="substation_id",
            function="any",
            of_column="substation_name",
        ),
        Derived(
            target="customers_served",
            from_table="meter_locations_enhanced",
            here="circuit_id",
            there="circuit_id",
            function="count",
            fills=True,
        ),
        Derived(
            target="outage_count",
            from_table="outage_restoration_tracker",
            here="circuit_id",
            there="circuit_id",
            function="count",
            where_column="status",
            where_values=("ACTIVE", "ASSIGNED", "IN_PROGRESS"),
        ),
    ),
    changed_column="last_updated",
)
