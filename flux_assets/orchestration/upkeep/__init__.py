"""What keeps Dagster's own storage from growing for ever: its runs, what their deletion leaves behind, and files.

Here: one module for each kind of thing that is removed, none of which knows a job or a table of ours. Not here: when it
happens (maintenance.py) and the ledger in PostGIS (postgis/).
"""
