#!/usr/bin/env bash
# Dagster's UI and daemon, until Ctrl-C. The process file is for scripts/down.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
export DAGSTER_HOME="${DAGSTER_HOME:-$PWD}"
home="${FLUX_HOME:-$PWD/.flux}"
mkdir -p "$home"
echo $$ >"$home/ui.pid"
exec .venv/bin/dagster dev --workspace workspace.yaml --host 127.0.0.1 --port 3000
