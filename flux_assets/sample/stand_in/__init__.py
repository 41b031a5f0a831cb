"""The stand-in for Snowflake: fakesnow's HTTP server on DuckDB files, used through the real connector.

Reading order: server.py (start, stop, how to connect), daemon.py (the process), door.py (sign-in and idle sessions),
patches/ (what is changed in fakesnow).

How it differs from Snowflake, measured with fakesnow 0.12.1:

- It has no AT or BEFORE, no streams, no SYSTEM$LAST_CHANGE_COMMIT_TIME, no HASH_AGG; HASH() is an error.
- Roles, warehouses and session parameters are accepted and ignored; no statement times out, abort does nothing.
- Two transactions that write one row conflict at once (error 000625); Snowflake would wait. So does a TRUNCATE or a
  DROP of a table that another transaction wrote. Readers see the state at the start of their transaction, as there.
- A result comes in one answer, never in remote chunks.
- A session lives until its client closes it, is idle for an hour, or for 30 seconds within a transaction, which is
  then rolled back; so a killed client blocks nobody for long. Sessions end with the server; clients sign in again.
- DDL and DML are on disk when a statement (or its COMMIT) returns: they survive kill -9 of the server. `CREATE
  TEMPORARY TABLE` and session variables do not.
"""
