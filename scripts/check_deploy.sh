#!/usr/bin/env bash
# The files of deploy/ by the linters of their kinds; what Dagster and Kubernetes make of them is tested in
# flux_assets_tests/project/test_deploy.py.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
if [ -x .venv/bin/hadolint ]; then
    .venv/bin/hadolint deploy/Dockerfile
else
    echo "check: no hadolint for this machine, so deploy/Dockerfile is not linted" >&2
fi
if command -v systemd-analyze >/dev/null; then
    # Where they are installed there would be this folder.
    units="$(mktemp -d)"
    trap 'rm -rf "$units"' EXIT
    for unit in deploy/systemd/*.service; do
        sed "s#/opt/flux/current#$PWD#g" "$unit" >"$units/${unit##*/}"
    done
    # It warns of names that it does not know and ends with 0; of others' units we do not judge.
    if said="$(systemd-analyze verify "$units"/*.service 2>&1)" && ! grep -F "$units" <<<"$said"; then :; else
        echo "$said" >&2
        exit 1
    fi
else
    echo "check: no systemd-analyze here, so the units of deploy/systemd/ are not verified" >&2
fi
