"""The source tables in both shapes that are in the field: their columns, and records as rows of them and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from flux_assets.sample.simulation.grid import Circuit
from flux_assets.sample.simulation.records import OPEN_ORDER, OPEN_OUTAGE, Outage, WorkOrder

Shape = Literal["a", "b"]
Row = dict[str, Any]

_ID, _TEXT, _TIME, _COUNT, _FLOAT = "VARCHAR(50)", "TEXT", "TIMESTAMP_NTZ", "NUMBER(10,0)", "FLOAT"
_CONDUCTORS = ("336 ACSR", "477 ACSR", "795 ACSR", "1/0 AL", "4/0 AL")


@dataclass(frozen=True, kw_only=True)
class SourceTable:
    """A table of the source: its columns with their types, the first of them the key."""

    name: str
    columns: Mapping[str, str]

    @property
    def key(self) -> str:
        return next(iter(self.columns))


CIRCUITS = SourceTable(
    name="CIRCUIT_METADATA",
    columns={
        "CIRCUIT_ID": _ID,
        "CIRCUIT_NAME": "VARCHAR(200)",
        "SUBSTATION_ID": _ID,
        "VOLTAGE_CLASS": "VARCHAR(20)",
        "LENGTH_MILES": _FLOAT,
        "CONDUCTOR_TYPE": "VARCHAR(50)",
        "STATUS": "VARCHAR(20)",
        "CUSTOMER_COUNT": _COUNT,
    },
)
_OUTAGES_A = {
    "OUTAGE_ID": _ID,
    "CIRCUIT_ID": _ID,
    "SUBSTATION_ID": _ID,
    "OUTAGE_TYPE": "VARCHAR(50)",
    "CAUSE_CATEGORY": "VARCHAR(100)",
    "OUTAGE_START_TIME": _TIME,
    "ESTIMATED_RESTORATION_TIME": _TIME,
    "ACTUAL_RESTORATION_TIME": _TIME,
    "CUSTOMERS_AFFECTED": _COUNT,
    "CUSTOMERS_RESTORED": _COUNT,
    "STATUS": "VARCHAR(20)",
    "PRIORITY": "VARCHAR(20)",
    "CREW_ASSIGNED": "VARCHAR(100)",
    "LATITUDE": _FLOAT,
    "LONGITUDE": _FLOAT,
}
_OUTAGES_B = {
    "OUTAGE_ID": _ID,
    "CIRCUIT_ID": _ID,
    "SUBSTATION_ID": _ID,
    "OUTAGE_START_TIME": _TIME,
    "OUTAGE_END_TIME": _TIME,
    "STATUS": "VARCHAR(20)",
    "CAUSE": "VARCHAR(100)",
    "AFFECTED_CUSTOMERS": _COUNT,
    "AFFECTED_TRANSFORMERS": _COUNT,
    "CREW_ASSIGNED": "VARCHAR(100)",
    "ESTIMATED_RESTORATION": _TIME,
    "ACTUAL_RESTORATION": _TIME,
    "OUTAGE_DURATION_MINUTES": _COUNT,
    "NOTES": _TEXT,
    "CREATED_AT": _TIME,
    "UPDATED_AT": _TIME,
}
_ORDERS_A = {
    "WORK_ORDER_ID": _ID,
    "WORK_ORDER_TYPE": "VARCHAR(50)",
    "PRIORITY": "VARCHAR(20)",
    "STATUS": "VARCHAR(20)",
    "ASSIGNED_CREW": "VARCHAR(100)",
    "CIRCUIT_ID": _ID,
    "SUBSTATION_ID": _ID,
    "TRANSFORMER_ID": _ID,
    "DESCRIPTION": _TEXT,
    "SCHEDULED_START": _TIME,
    "SCHEDULED_END": _TIME,
    "ACTUAL_START": _TIME,
    "ACTUAL_END": _TIME,
    "LATITUDE": _FLOAT,
    "LONGITUDE": _FLOAT,
}
_ORDERS_B = _ORDERS_A | {
    "ASSET_TYPE": "VARCHAR(50)",
    "ASSET_ID": _ID,
    "WORK_TYPE": "VARCHAR(50)",
    "SCHEDULED_DATE": _TIME,
    "COMPLETED_DATE": _TIME,
    "ESTIMATED_HOURS": _FLOAT,
    "ACTUAL_HOURS": _FLOAT,
    "CREATED_AT": _TIME,
    "UPDATED_AT": _TIME,
}
OUTAGES = {
    "a": SourceTable(name="OUTAGE_RESTORATION_TRACKER", columns=_OUTAGES_A),
    "b": SourceTable(name="OUTAGE_RESTORATION_TRACKER", columns=_OUTAGES_B),
}
ORDERS = {
    "a": SourceTable(name="WORK_ORDERS", columns=_ORDERS_A),
    "b": SourceTable(name="WORK_ORDERS", columns=_ORDERS_B),
}
DEVICES = SourceTable(
    name="DEVICES",
    columns={
        "TRANSFORMER_ID": _ID,
        "CIRCUIT_ID": _ID,
        "SUBSTATION_ID": _ID,
        "LATITUDE": _FLOAT,
        "LONGITUDE": _FLOAT,
        "CUSTOMERS": _COUNT,
        "CIRCUIT_CUSTOMERS": _COUNT,
    },
)
CLOCK = SourceTable(
    name="CLOCK",
    columns={
        "SHAPE": "VARCHAR(1)",
        "NOW": _TIME,
        "SEED": _COUNT,
        "TICKS": _COUNT,
        "OUTAGES": _COUNT,
        "ORDERS": _COUNT,
        "STORM_BEGAN": _TIME,
    },
)
# Fields of an outage by column; whatever else shape b has follows from them.
_OUTAGE_FIELDS: dict[str, dict[str, str]] = {
    "a": {column: column.lower() for column in _OUTAGES_A}
    | {
        "OUTAGE_START_TIME": "start_time",
        "ESTIMATED_RESTORATION_TIME": "estimated_restoration",
        "ACTUAL_RESTORATION_TIME": "actual_restoration",
    },
    "b": {
        "OUTAGE_ID": "outage_id",
        "CIRCUIT_ID": "circuit_id",
        "SUBSTATION_ID": "substation_id",
        "OUTAGE_START_TIME": "start_time",
        "STATUS": "status",
        "CAUSE": "cause_category",
        "AFFECTED_CUSTOMERS": "customers_affected",
        "CREW_ASSIGNED": "crew_assigned",
        "ESTIMATED_RESTORATION": "estimated_restoration",
        "ACTUAL_RESTORATION": "actual_restoration",
    },
}


def outage_row(outage: Outage, shape: Shape, now: datetime) -> Row:
    """Return the outage as a row of its table."""
    row: Row = {column: getattr(outage, name) for column, name in _OUTAGE_FIELDS[shape].items()}
    if shape == "b":
        minutes = _minutes(outage.start_time, outage.actual_restoration)
        row |= {
            "OUTAGE_END_TIME": outage.actual_restoration,
            "AFFECTED_TRANSFORMERS": 1 + outage.customers_affected // 12,
            "OUTAGE_DURATION_MINUTES": None if minutes is None else round(minutes),
            "NOTES": f"{outage.outage_type or 'UNPLANNED'}, {outage.customers_affected} customers",
            "CREATED_AT": outage.start_time,
            "UPDATED_AT": now,
        }
    return row


def outage_of(row: Row, shape: Shape) -> Outage:
    """Return the outage in a row of its table."""
    found: dict[str, Any] = {name: row[column] for column, name in _OUTAGE_FIELDS[shape].items()}
    found["customers_affected"] = found["customers_affected"] or 0
    return Outage(**found)


def order_row(order: WorkOrder, shape: Shape, now: datetime) -> Row:
    """Return the order as a row of its table. In shape b every second one has type and start in other columns."""
    row: Row = {column: getattr(order, column.lower()) for column in _ORDERS_A}
    if shape == "b":
        hours = _minutes(order.actual_start, order.actual_end)
        planned = _minutes(order.scheduled_start, order.scheduled_end)
        row |= {
            "ASSET_TYPE": "TRANSFORMER",
            "ASSET_ID": order.transformer_id,
            "WORK_TYPE": order.work_order_type,
            "SCHEDULED_DATE": order.scheduled_start,
            "COMPLETED_DATE": order.actual_end,
            "ESTIMATED_HOURS": None if planned is None else round(planned / 60, 2),
            "ACTUAL_HOURS": None if hours is None else round(hours / 60, 2),
            "CREATED_AT": order.scheduled_start,
            "UPDATED_AT": now,
        }
        if order.work_order_id[-1] in "02468":
            row |= {"WORK_ORDER_TYPE": None, "SCHEDULED_START": None}
    return row


def order_of(row: Row, shape: Shape) -> WorkOrder:
    """Return the order in a row of its table."""
    found: dict[str, Any] = {column.lower(): row[column] for column in _ORDERS_A}
    if shape == "b":
        found["work_order_type"] = found["work_order_type"] or row["WORK_TYPE"]
        found["scheduled_start"] = found["scheduled_start"] or row["SCHEDULED_DATE"]
    return WorkOrder(**found)


def circuit_row(circuit: Circuit, number: int) -> Row:
    """Return a circuit as a row. Every seventh lacks its customer count, so that meters have to be counted."""
    states = ("ENERGIZED",) * 8 + ("MAINTENANCE",)
    return {
        "CIRCUIT_ID": circuit.circuit_id,
        "CIRCUIT_NAME": circuit.name,
        "SUBSTATION_ID": circuit.substation_id,
        "VOLTAGE_CLASS": circuit.voltage_class,
        "LENGTH_MILES": circuit.length_miles,
        "CONDUCTOR_TYPE": _CONDUCTORS[number * 7 % len(_CONDUCTORS)],
        "STATUS": None if number % 9 == 4 else states[number * 5 % 23 % len(states)],
        "CUSTOMER_COUNT": None if number % 7 == 3 else circuit.customers,
    }


OPEN_STATUSES = {"OUTAGE_RESTORATION_TRACKER": OPEN_OUTAGE, "WORK_ORDERS": OPEN_ORDER}


def _minutes(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds() / 60
