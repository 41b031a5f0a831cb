#!/usr/bin/env bash
# Everything that is missing: a Python environment with the locked packages, and PostgreSQL with PostGIS.
# `setup.sh run` is what the UI needs, `setup.sh demo` the same with a beginning made of the demo's work, `setup.sh map` the
# same with a tile server; `setup.sh` adds the tools of tests and checks, and Snow CLI.
# Quick when nothing is missing. Bash 3.2 will do, because that is what macOS has.
set -euo pipefail
cd "$(dirname "$0")/.."
# Many containers forbid Python to keep its bytecode; without it every command would compile all packages again. The demo
# compiles what it imports, and only that; the many processes of tests and benchmarks find all of it compiled.
unset PYTHONDONTWRITEBYTECODE
compile=
case "${1:-all}" in
run | demo) lock=requirements.lock ;;
map) lock=requirements-map.lock ;;
all) lock=requirements-test.lock compile=--compile ;;
*)
    echo "setup: $1 is not a set-up; give run, demo or map, or nothing for all of it." >&2
    exit 2
    ;;
esac

stop() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

made_from() {
    cat "$1" pyproject.toml | cksum
}

# What holds everything holds what the map needs, and that what the demo needs.
up_to_date() {
    local made enough
    made="$(cat .venv/made_from 2>/dev/null)" || return 1
    enough="$lock requirements-test.lock"
    if [ "$lock" = requirements.lock ]; then enough="$enough requirements-map.lock"; fi
    for enough in $enough; do
        [ "$made" != "$(made_from "$enough")" ] || return 0
    done
    return 1
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

# A Debian without it says so only when an environment is made.
install_venv() {
    local package
    package="$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        stop "$1 cannot make a virtual environment: its venv module is incomplete." \
            "On Debian or Ubuntu run: sudo apt-get install $package"
    fi
    echo "setup: installing $package"
    apt-get update -qq -o DPkg::Lock::Timeout=300
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 \
        "$package" >/dev/null
}

make_environment() {
    echo "setup: making .venv with $("$1" --version)"
    rm -rf .venv
    "$1" -m venv --without-pip .venv
    if [ "$lock" != requirements-test.lock ]; then touch .venv/slim; fi
}

# uv, which installs the packages in a tenth of pip's time; it lies in .venv until they are installed.
fetch_uv() {
    local pip
    if command -v uv >/dev/null; then
        uv=uv
        return
    fi
    # The pip that this Python would put into an environment, run from where it lies.
    pip="$(.venv/bin/python -c '
import ensurepip, pathlib, sysconfig
places = [pathlib.Path(ensurepip.__file__).parent / "_bundled", sysconfig.get_config_var("WHEEL_PKG_DIR") or "", "/usr/share/python-wheels"]
print(next(str(wheel) for place in places if place for wheel in pathlib.Path(place).glob("pip-*.whl")))' 2>/dev/null)" &&
        PYTHONPATH="$pip" .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
            --require-hashes --target .venv/uv -r uv-installer.lock 2>/dev/null || return 1
    uv=.venv/uv/bin/uv
    # Where pip was told to look for packages, uv looks too.
    if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
        index="$(PYTHONPATH="$pip" .venv/bin/python -m pip config list 2>/dev/null |
            sed -n "s/^[a-z:]*\.index-url='\(.*\)'$/\1/p" | tail -n 1)"
        if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
    fi
    if [ -n "${PIP_CERT:-}" ]; then export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"; fi
}

# The locks are complete, so nothing is resolved.
install_with_uv() {
    "$uv" pip install --quiet --python "$1" --no-deps --require-hashes -r "$2" ${compile:+"$compile"}
}

install_with_pip() {
    "$1" -m pip --version >/dev/null 2>&1 || "$1" -m ensurepip >/dev/null
    "$1" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$2" \
        ${compile:---no-compile}
}

link_package() {
    if [ "$installer" = uv ]; then
        "$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
    else
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
    fi
}

install_packages() {
    local count
    count="$(grep -c '==' "$lock")"
    echo "setup: installing $count locked packages into .venv"
    installer=uv
    if ! { fetch_uv && install_with_uv .venv/bin/python "$lock"; }; then
        echo "setup: uv is unavailable; pip installs them, which takes a minute or two"
        installer=pip
        install_with_pip .venv/bin/python "$lock"
    fi
    link_package
    if [ -e .venv/slim ]; then scripts/slim_environment.sh; fi
    made_from "$lock" >.venv/made_from
}

# Snow CLI, for the test that our query texts are rendered as it renders them: in an environment of its own, because it
# wants another version of the connector.
install_snow_cli() {
    echo "setup: installing Snow CLI into .venv/snow-cli"
    rm -rf .venv/snow-cli
    .venv/bin/python -m venv --without-pip .venv/snow-cli
    if ! { { [ -n "${uv:-}" ] || fetch_uv; } && install_with_uv .venv/snow-cli/bin/python snow-cli.lock; }; then
        install_with_pip .venv/snow-cli/bin/python snow-cli.lock
    fi
    cksum <snow-cli.lock >.venv/snow-cli/made_from
}

# Before there is an environment, told by the files of Debian's packages or of the server on the PATH.
may_have_postgis() {
    compgen -G '/usr/share/postgresql/*/extension/postgis.control' >/dev/null ||
        { command -v pg_config >/dev/null && [ -f "$(pg_config --sharedir)/extension/postgis.control" ]; }
}

has_postgis() {
    .venv/bin/python -c 'from flux_assets.sample import binaries; binaries.find()' 2>/dev/null
}

python=
if ! usable; then
    python="$(find_python)"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install_venv "$python"
fi

# The system's packages and Python's are installed at the same time.
postgis=
if ! up_to_date && command -v apt-get >/dev/null && ! may_have_postgis; then
    scripts/install_postgis.sh check
    scripts/install_postgis.sh &
    postgis=$!
    # Not broken off in the midst of it, whatever else fails.
    trap 'wait "$postgis"' EXIT
fi

if [ -n "$python" ]; then
    make_environment "$python"
elif [ "$lock" = requirements-test.lock ] && [ -e .venv/slim ]; then
    # Files of packages are missing that an installer would believe to be there.
    make_environment "$(.venv/bin/python -c 'import sys; print(sys._base_executable)')"
fi
up_to_date || install_packages
if [ "$lock" = requirements-test.lock ] && [ "$(cat .venv/snow-cli/made_from 2>/dev/null)" != "$(cksum <snow-cli.lock)" ]; then
    install_snow_cli
fi
rm -rf .venv/uv

if [ -z "$postgis" ] && ! has_postgis; then scripts/install_postgis.sh; fi
prepared=
# The demo makes itself whatever this fails to make, and says why it fails.
if [ "${1:-}" = demo ] && ! compgen -G "${FLUX_HOME:-.flux}/release/*" >/dev/null; then
    echo "demo: making a sample release, and a stand-in for Snowflake"
    scripts/demo.sh prepare >/dev/null 2>&1 &
    prepared=$!
fi
if [ -n "$postgis" ]; then
    trap - EXIT
    wait "$postgis" || {
        [ -z "$prepared" ] || kill "$prepared"
        exit 1
    }
    has_postgis || scripts/install_postgis.sh
fi
