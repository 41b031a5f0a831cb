#!/usr/bin/env bash
# PgBouncer, by the system's packages, for `make test`. Only the program is installed: no service is started.
set -euo pipefail
target=test
. "$(dirname "$0")/apt.sh"

# Debian has it where not everybody's PATH leads.
if PATH="$PATH:/usr/sbin" command -v pgbouncer >/dev/null; then
    exit 0
fi
need_apt "PgBouncer is" \
    "Install it by your system's package manager (macOS: brew install pgbouncer), and run make test again." pgbouncer
apt_install pgbouncer
