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
PYTHONWARNINGS="${PYTHONWARNINGS:-ignore}" "$root/.venv/bin/dagster" asset materialize -m flux_assets.definitions --select 'group:static_layers'
"$root/.venv/bin/flux-assets" status
echo
echo "Next: make ui, and with your own PostGIS and release: the README."
