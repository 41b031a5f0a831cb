"""The benchmarks, `make bench`. Read ground.py, timing.py and ways.py first; __main__.py lists the experiments."""
