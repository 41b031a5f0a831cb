#!/usr/bin/env bash
# Dagster's UI and daemon, until Ctrl-C. The process file is for scripts/down.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
export DAGSTER_HOME="${DAGSTER_HOME:-$PWD}"
home="${FLUX_HOME:-$PWD/.flux}"
port="${UI_PORT:-3000}"
# Five digits at most: the shell counts no further than it can.
if ! [[ "$port" =~ ^[0-9]{1,5}$ ]] || ((10#$port < 1 || 10#$port > 65535)); then
    echo "UI_PORT = '$port' is not a port. Give a number from 1 to 65535: UI_PORT=3001 make ui" >&2
    exit 1
fi
mkdir -p "$home"

if [ -f "$home/ui.pid" ] && ps -ww -o args= -p "$(cat "$home/ui.pid")" 2>/dev/null | grep -q "dagster dev"; then
    echo "The UI of $home runs already (process $(cat "$home/ui.pid")); make down stops it." >&2
    exit 1
fi
if ! .venv/bin/python -c 'import socket, sys
probe = socket.socket()
probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
probe.bind(("127.0.0.1", int(sys.argv[1])))' "$port" 2>/dev/null; then
    echo "Port $port of 127.0.0.1 is taken. Choose another: UI_PORT=3001 make ui" >&2
    exit 1
fi
echo $$ >"$home/ui.pid"
echo "The UI, in a moment: http://127.0.0.1:$port (Ctrl-C ends it; make map beside it shows the tables)"
# Dagster announces that this way of starting it will be replaced one day; nothing for a user to do.
export PYTHONWARNINGS="${PYTHONWARNINGS:-ignore}"
# Every run is a process of its own, which would otherwise compile what it imports.
unset PYTHONDONTWRITEBYTECODE

# Schedules are created stopped, as the task that the sync replaces was; who opens the UI like this wants to see them
# work, and a sync every five minutes wants its history pruned.
start_schedule() {
    local log="$home/ui-$1.log"
    .venv/bin/dagster schedule start -w workspace.yaml "$1" >/dev/null 2>"$log" ||
        grep -q "already running" "$log" || cat "$log" >&2
}
# One after the other: the first makes Dagster's storage where there is none, and two at once got in each other's way.
start_schedule dynamic_sync_schedule
start_schedule prune_history_schedule

# On the stand-in something has to happen; a source of the user's own refuses to be simulated, and that is right.
if [ -z "${SNOWFLAKE_ACCOUNT:-}" ] || [ "${SNOWFLAKE_ACCOUNT}" = stand-in ]; then
    # A minute a minute: rows that begin hours ahead of the clock would puzzle whoever reads them.
    .venv/bin/flux-assets simulate --every "${UI_SIMULATE_SECONDS:-60}" --minutes-per-tick 1 >"$home/simulate.log" 2>&1 &
    simulation=$!
    # This process becomes Dagster, and the simulation ends with it.
    ui=$$
    (
        trap '' INT
        while kill -0 "$ui" 2>/dev/null && kill -0 "$simulation" 2>/dev/null; do sleep 1; done
        kill "$simulation" 2>/dev/null
    ) >/dev/null 2>&1 &
fi
# A script's background job begins with the interrupt ignored, and Dagster then ignores both ways of being stopped.
exec .venv/bin/python -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' .venv/bin/dagster dev --workspace workspace.yaml --host 127.0.0.1 --port "$port"
