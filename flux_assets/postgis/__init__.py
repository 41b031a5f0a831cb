"""The only writer: everything that runs SQL against the target database.

Here: connections, DDL, staging, indexes, audits, publishing, the ledger and the register of versions.
Not here: where rows come from, Dagster, or the name of any table.
"""
