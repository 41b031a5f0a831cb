"""Everything that knows Dagster: assets and their checks, jobs, schedules, sensors, resources, and what a run records.

Here: one Dagster noun a module. Not here: how a layer is loaded or a table synced (load.py, sync.py), joining it all
(definitions.py) and Dagster's own storage (instance.py).
"""
