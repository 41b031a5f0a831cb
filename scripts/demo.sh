#!/usr/bin/env bash
# The main job on the embedded default. What is there already is not made, and not loaded, again. With `prepare` only
# what needs no PostGIS.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
mkdir -p "${FLUX_HOME:=$root/.flux}"
FLUX_HOME="$(cd "$FLUX_HOME" && pwd)"
export FLUX_HOME DAGSTER_HOME="$root"
unset PYTHONDONTWRITEBYTECODE

# From a folder without a .env, for Dagster reads the one of the folder that it is started in.
cd "$FLUX_HOME"
# Dagster says of what it has in beta that it may change; nothing for a user to do.
export PYTHONWARNINGS="${PYTHONWARNINGS:-ignore}"
exec "$root/.venv/bin/python" "$root/scripts/demo.py" "$@"
