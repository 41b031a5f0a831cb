"""The benchmarks: how fast and how gentle a load is, against the way the layers were loaded before.

Reading order: ground.py (server, databases, releases), timing.py (alternated runs), published.py, floor.py and
ours.py (the ways that are compared), then an experiment a module: buildings.py, whole.py, growth.py, readers.py,
peers.py; results.py writes what they found. Run with `make bench`, or `python -m bench --help`.
"""
