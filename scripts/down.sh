#!/usr/bin/env bash
# Stops what the project started, known by its own process files, and nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
home="${FLUX_HOME:-$PWD/.flux}"

running_ui() {
    local command
    command="$(ps -ww -o args= -p "$1" 2>/dev/null)" || return 1
    case "$command" in *"dagster dev"*) return 0 ;; *) return 1 ;; esac
}

if [ -f "$home/ui.pid" ]; then
    ui="$(cat "$home/ui.pid")"
    if running_ui "$ui"; then
        # One that was started in the background of a script ignores the interrupt.
        for signal in INT TERM; do
            kill "-$signal" "$ui" 2>/dev/null || break
            for _ in $(seq 100); do
                running_ui "$ui" || break 2
                sleep 0.1
            done
        done
    fi
    if running_ui "$ui"; then
        echo "The UI (process $ui) does not stop; end it with kill -9 $ui and run this again." >&2
        exit 1
    fi
    rm -f "$home/ui.pid"
fi

[ -x .venv/bin/flux-assets ] || exit 0
for folder in "$home" "$PWD"/.flux/tests/[0-9]*; do
    # A test session that still runs stops its own servers.
    if { [ -d "$folder/postgres" ] || [ -d "$folder/snowflake" ]; } && ! kill -0 "$(basename "$folder")" 2>/dev/null; then
        FLUX_HOME="$folder" FLUX_ENV_FILE='' FLUX_PROFILE=embedded .venv/bin/flux-assets down
    fi
done
