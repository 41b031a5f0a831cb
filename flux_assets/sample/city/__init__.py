"""The sample city: a made-up release of any size, in exactly the published format.

Reading order: counts.py (how many rows), frame.py (metres and degrees), city.py (everything planned), then a module a
layer, and release_writer.py (the files).
"""
