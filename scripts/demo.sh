#!/usr/bin/env bash
# The main job on the embedded default. What is there already is not made, and not loaded, again.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
mkdir -p "${FLUX_HOME:=$root/.flux}"
FLUX_HOME="$(cd "$FLUX_HOME" && pwd)"
export FLUX_HOME DAGSTER_HOME="$root"

# From a folder without a .env, for Dagster reads the one of the folder that it is started in.
cd "$FLUX_HOME"
# Dagster says that this way of starting it will be replaced one day; nothing for a user to do.
export PYTHONWARNINGS="${PYTHONWARNINGS:-ignore}"
"$root/.venv/bin/dagster" asset materialize -m flux_assets.definitions --select 'group:static_layers'
"$root/.venv/bin/dagster" asset materialize -m flux_assets.definitions --select 'group:dynamic_operations'
"$root/.venv/bin/flux-assets" status
echo
echo "Next: make ui for Dagster's UI with the five-minute sync running; flux-assets simulate --storm for something to see;"
echo "with your own PostGIS, release and Snowflake: the README."
