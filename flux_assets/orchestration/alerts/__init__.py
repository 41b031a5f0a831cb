"""Alerts in Dagster: what Dagster knows to be wrong, the sensor, and the watchdog that needs no daemon."""
