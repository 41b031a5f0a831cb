"""An outage and a work order, as both shapes of the source tell of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

OPEN_OUTAGE = ("PENDING", "ACTIVE", "ASSIGNED", "IN_PROGRESS")
OPEN_ORDER = ("OPEN", "SCHEDULED", "ASSIGNED", "IN_PROGRESS")
WEATHER = "WEATHER"


@dataclass(frozen=True, kw_only=True)
class Outage:
    """Times are UTC, without a zone. Fields that a shape of the source lacks are None where it was read from there."""

    outage_id: str
    circuit_id: str
    substation_id: str | None
    start_time: datetime
    status: str
    outage_type: str | None = None
    cause_category: str | None = None
    estimated_restoration: datetime | None = None
    actual_restoration: datetime | None = None
    customers_affected: int = 0
    customers_restored: int | None = None
    priority: str | None = None
    crew_assigned: str | None = None
    latitude: float | None = None
    longitude: float | None = None

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_OUTAGE

    @property
    def customers_out(self) -> int:
        """Customers that have no supply yet."""
        return self.customers_affected - (self.customers_restored or 0) if self.is_open else 0


@dataclass(frozen=True, kw_only=True)
class WorkOrder:
    """Times are UTC, without a zone."""

    work_order_id: str
    work_order_type: str
    priority: str
    status: str
    circuit_id: str
    substation_id: str | None
    transformer_id: str | None
    description: str
    scheduled_start: datetime
    scheduled_end: datetime
    assigned_crew: str | None = None
    actual_start: datetime | None = None
    actual_end: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_ORDER
