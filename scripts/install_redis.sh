#!/usr/bin/env bash
# Redis, by the system's packages, for `make test-celery`. Only the program is installed: no service is started.
set -euo pipefail

stop() {
    printf 'test-celery: %s\n' "$@" >&2
    exit 1
}

if command -v redis-server >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    stop "Redis is not installed, and only apt's packages are installed by themselves here." \
        "Install it by your system's package manager (macOS: brew install redis), and run make test-celery again."
fi
if [ "$(id -u)" != 0 ]; then
    stop "Redis is not installed, and installing it takes root." \
        "Run: sudo apt-get update && sudo apt-get install --no-install-recommends redis-server"
fi
# Its package starts a service unless it is told not to.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq -o DPkg::Lock::Timeout=300
echo "test-celery: installing redis-server"
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 \
    redis-server >/dev/null
