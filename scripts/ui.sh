#!/usr/bin/env bash
# Dagster's UI and daemon, until Ctrl-C. The process file is for scripts/down.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
export DAGSTER_HOME="${DAGSTER_HOME:-$PWD}"
home="${FLUX_HOME:-$PWD/.flux}"
mkdir -p "$home"
echo $$ >"$home/ui.pid"
# A script's background job begins with the interrupt ignored, and Dagster then ignores both ways of being stopped.
exec .venv/bin/python -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' .venv/bin/dagster dev --workspace workspace.yaml --host 127.0.0.1 --port 3000
