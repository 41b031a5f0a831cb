"""The parts of a load of a static layer, which load.py puts in order, and watching a release for news.

Reading order: options.py, run_record.py (the ledger's row), candidate.py (from a file to a version that may be
published). Not here: publishing itself (postgis/publish.py) and reading files (release/).
"""
