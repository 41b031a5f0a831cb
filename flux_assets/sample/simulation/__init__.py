"""A made-up utility's days in the source tables: outages and work orders that come and go.

Reading order: grid.py (what there is), records.py (an outage, an order), history.py (the past that a new source has),
day.py (one step on), tables.py and store.py (how it lies in Snowflake's tables), tick.py (a step, through a real
connection).
"""
