"""flux_assets: a utility's map layers as Dagster assets, published atomically into PostGIS.

Reading order: spec/ (the vocabulary), one module of tables/ (a declaration), load.py with loading/ (how a layer is
published) and sync.py with syncing/ (how a dynamic table follows Snowflake), postgis/, release/ and warehouse/ (what
those stand on), orchestration/assets.py and orchestration/sync_assets.py (how tables become assets), definitions.py
(everything joined).
"""
