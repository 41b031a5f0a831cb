"""The benchmarks, `make bench`. Read ground.py, runs.py and layers.py first; __main__.py lists the experiments."""
