"""Alerts in Dagster: what is observed, the sensor, and the watchdog that needs no daemon."""
