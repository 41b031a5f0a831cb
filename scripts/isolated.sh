#!/usr/bin/env bash
# Runs a command that must touch the embedded default alone: without anybody's settings and without .env.
set -euo pipefail

for name in $(compgen -e); do
    case "$name" in
    FLUX_HOME) ;;
    FLUX_* | PG* | SNOWFLAKE_* | DAGSTER_*) unset "$name" ;;
    esac
done
export FLUX_ENV_FILE=
exec "$@"
