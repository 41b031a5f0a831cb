"""flux_assets: a utility's map layers as Dagster assets, published atomically into PostGIS.

Reading order: spec.py (the vocabulary), one module of tables/ (a declaration), load.py (how a layer is
published), postgis/ and release/ (what load.py stands on), assets.py (how a table becomes an asset),
definitions.py (everything joined).
"""
