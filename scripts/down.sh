#!/usr/bin/env bash
# Stops what the project started, known by its own process files, and nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
home="${FLUX_HOME:-$PWD/.flux}"

runs() {
    local command
    command="$(ps -ww -o args= -p "$1" 2>/dev/null)" || return 1
    case "$command" in *"$2"*) return 0 ;; *) return 1 ;; esac
}

# What is called how, by which file its process is known, and what its command line holds.
stop() {
    local process
    [ -f "$2" ] || return 0
    process="$(cat "$2")"
    if runs "$process" "$3"; then
        # One that was started in the background of a script ignores the interrupt.
        for signal in INT TERM; do
            kill "-$signal" "$process" 2>/dev/null || break
            for _ in $(seq 100); do
                runs "$process" "$3" || break 2
                sleep 0.1
            done
        done
    fi
    if runs "$process" "$3"; then
        echo "The $1 (process $process) does not stop; end it with kill -9 $process and run this again." >&2
        exit 1
    fi
    rm -f "$2"
}

stop map "$home/map.pid" flux_assets.map
stop UI "$home/ui.pid" "dagster dev"

[ -x .venv/bin/flux-assets ] || exit 0
for folder in "$home" "$PWD"/.flux/tests/[0-9]*; do
    # A test session that still runs stops its own servers.
    if { [ -d "$folder/postgres" ] || [ -d "$folder/snowflake" ]; } && ! kill -0 "$(basename "$folder")" 2>/dev/null; then
        FLUX_HOME="$folder" FLUX_ENV_FILE='' FLUX_PROFILE=embedded .venv/bin/flux-assets down
    fi
done
