"""Work orders: open ones, and all that were to start within the last month or later."""

from datetime import timedelta

from geoalchemy2 import Geometry
from sqlalchemy import Column, DateTime, Double, Index, MetaData, String, Table, Text

from flux_assets.spec import DynamicTable
from flux_assets.spec.facts import AcceptedValues, Alias, Position, Reference, RowFilter, SourceColumn, Volume

TABLE = DynamicTable(
    table=Table(
        "work_orders",
        MetaData(),
        Column("work_order_id", String(50), primary_key=True, comment="Identifier of the work order."),
        Column("work_order_type", String(50), comment="Kind of work, for example INSPECTION."),
        Column("priority", String(20), comment="Urgency of the work."),
        Column("status", String(20), comment="State of the order, for example OPEN."),
        Column("assigned_crew", String(100), comment="Crew that is to do it."),
        Column("circuit_id", String(50), comment="Circuit that is worked on."),
        Column("substation_id", String(50), comment="Substation that is worked on, or that feeds the circuit."),
        Column("transformer_id", String(50), comment="Transformer that is worked on, where it is one."),
        Column("description", Text, comment="What is to be done, in the planner's words."),
        Column("scheduled_start", DateTime, comment="When the work is to begin (UTC)."),
        Column("scheduled_end", DateTime, comment="When the work is to be done (UTC)."),
        Column("actual_start", DateTime, comment="When the work began (UTC)."),
        Column("actual_end", DateTime, comment="When the work was done (UTC)."),
        Column("latitude", Double, comment="Latitude in degrees (EPSG:4326)."),
        Column("longitude", Double, comment="Longitude in degrees (EPSG:4326)."),
        Column(
            "geom",
            Geometry("POINT", srid=4326, spatial_index=False),
            comment="Position made from longitude and latitude (EPSG:4326); none when either is missing.",
        ),
        Column("created_at", DateTime, comment="When the row first arrived here (UTC)."),
        Column("updated_at", DateTime, comment="When the row last changed here (UTC)."),
        Column("asset_id", Text, comment="Asset that is worked on, of whatever kind."),
        Column("asset_type", Text, comment="Kind of that asset, as the source names it."),
        Column("location_area", Text, comment="Area that the work is in, as the source names it."),
        Column("cost_usd", Double, comment="Cost of the work, in US dollars."),
        Column("labor_hours", Double, comment="Hours of labour that the work takes or took."),
        Index("work_orders_status_idx", "status"),
        Index("work_orders_work_order_type_idx", "work_order_type"),
        Index("work_orders_geom_idx", "geom", postgresql_using="gist"),
        comment="Open work orders, and those scheduled to start within the last 30 days or later.",
    ),
    references=(
        Reference(column="substation_id", to_table="substations", to_column="substation_id"),
        Reference(column="transformer_id", to_table="transformers", to_column="transformer_id"),
    ),
    accepted=(
        AcceptedValues(
            column="work_order_type",
            values=(
                "INSPECTION",
                "PREVENTIVE_MAINTENANCE",
                "CORRECTIVE_MAINTENANCE",
                "VEGETATION_TRIM",
                "REPLACEMENT",
                "EMERGENCY_REPAIR",
            ),
        ),
        AcceptedValues(column="priority", values=("EMERGENCY", "HIGH", "MEDIUM", "LOW")),
        AcceptedValues(
            column="status", values=("OPEN", "SCHEDULED", "ASSIGNED", "IN_PROGRESS", "COMPLETED", "CANCELLED")
        ),
    ),
    volume=Volume(minimum=1),
    positions=(Position(longitude="longitude", latitude="latitude", same_as="geom"),),
    owner="team:operations",
    source="WORK_ORDERS",
    source_columns=(
        SourceColumn(target="work_order_id", names=("WORK_ORDER_ID",), required=True),
        SourceColumn(target="work_order_type", names=("WORK_ORDER_TYPE", "WORK_TYPE")),
        SourceColumn(target="priority", names=("PRIORITY",)),
        SourceColumn(target="status", names=("STATUS",), required=True),
        SourceColumn(target="assigned_crew", names=("ASSIGNED_CREW",)),
        SourceColumn(target="circuit_id", names=("CIRCUIT_ID",)),
        SourceColumn(target="substation_id", names=("SUBSTATION_ID",)),
        SourceColumn(target="transformer_id", names=("TRANSFORMER_ID",)),
        SourceColumn(target="description", names=("DESCRIPTION",)),
        SourceColumn(
            target="scheduled_start", names=("SCHEDULED_START", "SCHEDULED_DATE", "WORK_ORDER_DATE"), required=True
        ),
        SourceColumn(target="scheduled_end", names=("SCHEDULED_END",)),
        SourceColumn(target="actual_start", names=("ACTUAL_START",)),
        SourceColumn(target="actual_end", names=("ACTUAL_END", "COMPLETED_DATE")),
        SourceColumn(target="latitude", names=("LATITUDE",)),
        SourceColumn(target="longitude", names=("LONGITUDE",)),
        SourceColumn(target="asset_id", names=("ASSET_ID",), optional=True),
        SourceColumn(target="asset_type", names=("ASSET_TYPE",), optional=True),
        SourceColumn(target="location_area", names=("LOCATION_AREA",), optional=True),
        SourceColumn(target="cost_usd", names=("COST_USD",), optional=True),
        SourceColumn(target="labor_hours", names=("LABOR_HOURS", "ACTUAL_HOURS", "ESTIMATED_HOURS"), optional=True),
    ),
    row_filter=RowFilter(
        status_column="status",
        open_statuses=("OPEN", "IN_PROGRESS", "SCHEDULED", "ASSIGNED"),
        time_column="scheduled_start",
        window=timedelta(days=30),
    ),
    arrived_column="created_at",
    changed_column="updated_at",
    aliases=(
        Alias(name="work_order_date", expression="scheduled_start"),
        Alias(name="work_type", expression="work_order_type"),
    ),
)
