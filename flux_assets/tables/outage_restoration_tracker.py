"""Outages: open ones, and all that began within the last week."""

from datetime import timedelta

from geoalchemy2 import Geometry
from sqlalchemy import Column, DateTime, Double, Index, Integer, MetaData, String, Table, Text

from flux_assets.spec import DynamicTable
from flux_assets.spec.facts import AcceptedValues, Alias, Picture, Position, Reference, RowFilter, SourceColumn

TABLE = DynamicTable(
    table=Table(
        "outage_restoration_tracker",
        MetaData(),
        Column("outage_id", String(50), primary_key=True, comment="Identifier of the outage."),
        Column("circuit_id", String(50), comment="Circuit that is out, wholly or in part."),
        Column("substation_id", String(50), comment="Substation that feeds the circuit."),
        Column("outage_type", String(50), comment="Planned or not, as the outage system names it."),
        Column("cause_category", String(100), comment="Kind of cause, for example weather."),
        Column("start_time", DateTime, comment="When the outage began (UTC)."),
        Column("estimated_restoration", DateTime, comment="When supply is expected to be back (UTC)."),
        Column("actual_restoration", DateTime, comment="When supply was back (UTC); none while it is out."),
        Column("customers_affected", Integer, comment="Number of customers without supply at the worst."),
        Column("customers_restored", Integer, comment="Number of those who have supply again."),
        Column("status", String(20), comment="State of the outage, for example ACTIVE."),
        Column("priority", String(20), comment="Urgency that operations gave it."),
        Column("crew_assigned", String(100), comment="Crew at work on it."),
        Column("latitude", Double, comment="Latitude in degrees (EPSG:4326)."),
        Column("longitude", Double, comment="Longitude in degrees (EPSG:4326)."),
        Column(
            "geom",
            Geometry("POINT", srid=4326, spatial_index=False),
            comment="Position made from longitude and latitude (EPSG:4326); none when either is missing.",
        ),
        Column("created_at", DateTime, comment="When the row first arrived here (UTC)."),
        Column("updated_at", DateTime, comment="When the row last changed here (UTC)."),
        Column("affected_poles", Integer, comment="Number of poles that are damaged or out."),
        Column("affected_transformers", Integer, comment="Number of transformers without supply."),
        Column("estimated_duration_hours", Double, comment="How long it is expected to last, in hours."),
        Column("assigned_crew_count", Integer, comment="Number of crews at work on it."),
        Column(
            "reportable_to_puc", Text, comment="Whether the commission must be told, as the source writes yes or no."
        ),
        Column("confidence_score", Double, comment="How sure the estimate is, in the source's own scale."),
        Column("weather_impact_factor", Double, comment="Share of the weather in it, in the source's own scale."),
        Column("saidi_minutes_accumulated", Double, comment="Customer minutes lost so far, as SAIDI counts them."),
        Column(
            "customer_priority_score", Double, comment="Weight of the customers affected, in the source's own scale."
        ),
        Column("equipment_damage_severity", Text, comment="How bad the damage is, as the source writes it."),
        Index("outage_restoration_tracker_status_idx", "status"),
        Index("outage_restoration_tracker_circuit_id_idx", "circuit_id"),
        Index("outage_restoration_tracker_geom_idx", "geom", postgresql_using="gist"),
        comment="Open outages, and those that began within the last 7 days.",
    ),
    references=(Reference(column="substation_id", to_table="substations", to_column="substation_id"),),
    accepted=(
        AcceptedValues(column="outage_type", values=("PLANNED", "UNPLANNED")),
        AcceptedValues(
            column="cause_category",
            values=(
                "WEATHER",
                "VEGETATION",
                "EQUIPMENT_FAILURE",
                "ANIMAL",
                "VEHICLE",
                "PLANNED_MAINTENANCE",
                "UNKNOWN",
            ),
        ),
        AcceptedValues(
            column="status", values=("PENDING", "ACTIVE", "ASSIGNED", "IN_PROGRESS", "RESTORED", "CANCELLED")
        ),
        AcceptedValues(column="priority", values=("CRITICAL", "HIGH", "MEDIUM", "LOW")),
    ),
    # None at all is the best of days; a large utility has thousands a week, and a storm brings many times as many.
    positions=(Position(longitude="longitude", latitude="latitude", same_as="geom"),),
    owner="team:operations",
    source="OUTAGE_RESTORATION_TRACKER",
    source_columns=(
        SourceColumn(target="outage_id", names=("OUTAGE_ID",), required=True),
        # Required because the circuits' outage counts would otherwise silently be 0.
        SourceColumn(target="circuit_id", names=("CIRCUIT_ID",), required=True),
        SourceColumn(target="substation_id", names=("SUBSTATION_ID",)),
        SourceColumn(target="outage_type", names=("OUTAGE_TYPE",)),
        SourceColumn(target="cause_category", names=("CAUSE_CATEGORY", "CAUSE", "OUTAGE_CAUSE")),
        SourceColumn(target="start_time", names=("OUTAGE_START_TIME", "OUTAGE_START_TIMESTAMP"), required=True),
        SourceColumn(target="estimated_restoration", names=("ESTIMATED_RESTORATION_TIME", "ESTIMATED_RESTORATION")),
        SourceColumn(
            target="actual_restoration",
            names=("ACTUAL_RESTORATION_TIME", "ACTUAL_RESTORATION", "OUTAGE_END_TIME"),
        ),
        SourceColumn(
            target="customers_affected", names=("CUSTOMERS_AFFECTED", "AFFECTED_CUSTOMERS", "AFFECTED_CUSTOMERS_COUNT")
        ),
        SourceColumn(target="customers_restored", names=("CUSTOMERS_RESTORED",)),
        SourceColumn(target="status", names=("STATUS", "RESTORATION_STATUS"), required=True),
        SourceColumn(target="priority", names=("PRIORITY",)),
        SourceColumn(target="crew_assigned", names=("CREW_ASSIGNED",)),
        SourceColumn(target="latitude", names=("LATITUDE", "OUTAGE_CENTER_LAT")),
        SourceColumn(target="longitude", names=("LONGITUDE", "OUTAGE_CENTER_LON")),
        *(
            SourceColumn(target=name, names=(name.upper(),), optional=True)
            for name in (
                "affected_poles",
                "affected_transformers",
                "estimated_duration_hours",
                "assigned_crew_count",
                "reportable_to_puc",
                "confidence_score",
                "weather_impact_factor",
                "saidi_minutes_accumulated",
                "customer_priority_score",
                "equipment_damage_severity",
            )
        ),
    ),
    row_filter=RowFilter(
        status_column="status",
        open_statuses=("ACTIVE", "ASSIGNED", "IN_PROGRESS", "PENDING"),
        time_column="start_time",
        window=timedelta(days=7),
    ),
    change_names=("UPDATED_AT", "LAST_UPDATED_TIMESTAMP"),
    arrived_column="created_at",
    changed_column="updated_at",
    aliases=(
        Alias(name="outage_start_timestamp", expression="start_time"),
        Alias(name="outage_cause", expression="cause_category"),
        Alias(name="restoration_status", expression="status"),
        Alias(name="affected_customers_count", expression="customers_affected"),
        Alias(name="severity_level", expression="customers_affected"),
        *(
            # 0/0 says that nobody knows where it is, and would be drawn in the Atlantic.
            Alias(name=name, expression=f"CASE WHEN latitude <> 0 OR longitude <> 0 THEN {axis} END")
            for name, axis in (("outage_center_lat", "latitude"), ("outage_center_lon", "longitude"))
        ),
        Alias(name="estimated_restoration_time", expression="estimated_restoration"),
        Alias(name="last_updated_timestamp", expression="updated_at"),
        Alias(
            name="estimated_duration_hours",
            expression="coalesce(estimated_duration_hours,"
            " extract(epoch FROM estimated_restoration - start_time)::float8 / 3600)",
        ),
        Alias(
            name="reportable_to_puc",
            expression="CASE WHEN lower(reportable_to_puc) IN ('true', 't', 'yes', 'y', '1') THEN true"
            " WHEN reportable_to_puc IS NOT NULL THEN false END",
        ),
    ),
    picture=Picture(
        colour_column="status",
        colours=(
            ("ACTIVE", "#d62728"),
            ("ASSIGNED", "#ff7f0e"),
            ("IN_PROGRESS", "#2a7fb8"),
            ("PENDING", "#9467bd"),
        ),
        size_column="customers_affected",
    ),
)
