#!/usr/bin/env bash
# Everything that is missing: a Python environment with the locked packages, and PostgreSQL with PostGIS.
# Quick when nothing is missing. Bash 3.2 will do, because that is what macOS has.
set -euo pipefail
cd "$(dirname "$0")/.."

stop() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

made_from() {
    cat requirements.lock pyproject.toml | cksum
}

# Programs in an environment know its folder by name, so that one that was moved or copied no longer works.
usable() {
    [ -x .venv/bin/python ] && new_enough .venv/bin/python && grep -qF "$(pwd -P)/.venv" .venv/bin/activate
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local name
    for name in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
        if command -v "$name" >/dev/null && new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    stop "No Python from 3.11 on was found${PYTHON:+ (PYTHON=$PYTHON is older)}." \
        "Install one (Debian 12, Ubuntu 24.04 or later: apt-get install python3 python3-venv; macOS: brew install python@3.13)," \
        "or name one: PYTHON=/path/to/python3.11 make setup"
}

make_environment() {
    local python="$1"
    rm -rf .venv
    if "$python" -m venv .venv >/dev/null 2>&1; then
        return
    fi
    rm -rf .venv
    local package
    package="$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
        "$python" -m venv .venv
    else
        stop "$python cannot make a virtual environment: its venv module is not whole." \
            "On Debian or Ubuntu run: sudo apt-get install $package"
    fi
}

install_packages() {
    echo "setup: installing the locked packages into .venv"
    # The lock is whole, so nothing is resolved; an older pip refuses hashes together with the lock's extras otherwise.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
    made_from >.venv/made_from
}

# Snow CLI, for the test that our query texts are rendered as it renders them: in an environment of its own, because it
# wants another version of the connector.
install_snow_cli() {
    echo "setup: installing Snow CLI into .venv/snow-cli"
    rm -rf .venv/snow-cli
    .venv/bin/python -m venv .venv/snow-cli
    .venv/snow-cli/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r snow-cli.lock
    cksum <snow-cli.lock >.venv/snow-cli/made_from
}

if ! usable; then
    python="$(find_python)"
    echo "setup: making .venv with $("$python" --version)"
    make_environment "$python"
fi
if [ "$(cat .venv/made_from 2>/dev/null)" != "$(made_from)" ]; then
    install_packages
fi
if [ "$(cat .venv/snow-cli/made_from 2>/dev/null)" != "$(cksum <snow-cli.lock)" ]; then
    install_snow_cli
fi
.venv/bin/python -c 'from flux_assets.sample import binaries; binaries.find()' 2>/dev/null || scripts/install_postgis.sh
