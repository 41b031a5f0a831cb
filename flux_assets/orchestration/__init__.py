"""Everything that knows Dagster: assets and their checks, jobs, schedules, sensors, resources, its own storage."""
