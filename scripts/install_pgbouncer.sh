#!/usr/bin/env bash
# PgBouncer, by the system's packages, for `make test`. Only the program is installed: no service is started.
set -euo pipefail

stop() {
    printf 'test: %s\n' "$@" >&2
    exit 1
}

# Debian has it where not everybody's PATH leads.
if PATH="$PATH:/usr/sbin" command -v pgbouncer >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    stop "PgBouncer is not installed, and only apt's packages are installed by themselves here." \
        "Install it by your system's package manager (macOS: brew install pgbouncer), and run make test again."
fi
if [ "$(id -u)" != 0 ]; then
    stop "PgBouncer is not installed, and installing it takes root." \
        "Run: sudo apt-get update && sudo apt-get install --no-install-recommends pgbouncer"
fi
# Its package starts a service unless it is told not to.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq -o DPkg::Lock::Timeout=300
echo "test: installing pgbouncer"
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 \
    pgbouncer >/dev/null
