"""Ticks of schedules and sensors, also of those that are stopped: the daemon purges only after a tick of the same one.

Here: Dagster's own purge, with the days that dagster.yaml says under `retention`. Not here: ticks of what is no longer
there (tables.py).
"""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg


def purge_ticks(instance: dg.DagsterInstance, now: datetime) -> None:
    """Purge the ticks of everything that has ever ticked; `now` is aware."""
    for state in instance.all_instigator_state():
        settings = instance.get_tick_retention_settings(state.instigator_type)
        for status, days in settings.items():
            if days >= 0:  # less means for ever
                before = (now - timedelta(days=days)).timestamp()
                instance.purge_ticks(state.instigator_origin_id, state.selector_id, before, [status])
