#!/usr/bin/env bash
# Redis, by the system's packages, for `make test-celery`. Only the program is installed: no service is started.
set -euo pipefail
target=test-celery
. "$(dirname "$0")/apt.sh"

if command -v redis-server >/dev/null; then
    exit 0
fi
need_apt "Redis is" \
    "Install it by your system's package manager (macOS: brew install redis), and run make test-celery again." redis-server
apt_install redis-server
