#!/usr/bin/env bash
# The map of the published tables, until Ctrl-C. The process file is for scripts/down.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
home="${FLUX_HOME:-$PWD/.flux}"
port="${MAP_PORT:-8088}"
if ! [[ "$port" =~ ^[0-9]{1,5}$ ]] || ((10#$port < 1 || 10#$port > 65535)); then
    echo "MAP_PORT = '$port' is not a port. Give a number from 1 to 65535: MAP_PORT=8089 make map" >&2
    exit 1
fi
mkdir -p "$home"
unset PYTHONDONTWRITEBYTECODE

# An empty map would show nobody anything.
if [ -z "${FLUX_POSTGRES_URL:-}${PGSERVICE:-}${PGHOST:-}${PGHOSTADDR:-}" ] && [ ! -d "$home/postgres" ]; then
    scripts/isolated.sh scripts/demo.sh
fi
if ! .venv/bin/python -c 'import socket, sys
probe = socket.socket()
probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
probe.bind(("127.0.0.1", int(sys.argv[1])))' "$port" 2>/dev/null; then
    echo "Port $port of 127.0.0.1 is taken. Choose another: MAP_PORT=8089 make map" >&2
    exit 1
fi
echo $$ >"$home/map.pid"
echo "The map: http://127.0.0.1:$port (Ctrl-C ends it; make ui syncs every five minutes)"
# A script's background job begins with the interrupt ignored.
exec .venv/bin/python -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' .venv/bin/python -m flux_assets.map "$port"
