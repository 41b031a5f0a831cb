#!/usr/bin/env bash
# PostgreSQL from 15 on with PostGIS, by the system's packages. Only programs are installed: no cluster of the
# system is made, started, stopped or changed, for the project runs a private one. With `check` it only says what keeps
# it from installing them, if anything does.
set -euo pipefail

stop() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

newest_package() {
    apt-cache search --names-only '^postgresql-[0-9]+-postgis-3$' | cut -d' ' -f1 |
        awk -F- '$2 >= 15' | sort -t- -k2,2n | tail -n 1
}

download_size() {
    apt-get install --print-uris -y -qq --no-install-recommends "$package" | awk '{ bytes += $3 } END { printf "%d", bytes / 1e6 }'
}

# Packages of a server make a cluster called main, and start every cluster, unless they are told not to.
leave_clusters_alone() {
    settings=/etc/postgresql-common/createcluster.d
    policy=/usr/sbin/policy-rc.d
    mkdir -p "$settings"
    echo "create_main_cluster = false" >"$settings/flux_assets.conf"
    trap 'rm -f "$settings/flux_assets.conf"' EXIT
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        trap 'rm -f "$settings/flux_assets.conf" "$policy"' EXIT
    fi
}

if [ "$(uname -s)" = Darwin ]; then
    stop "PostgreSQL with PostGIS is not installed." "Run: brew install postgresql@17 postgis"
fi
if ! command -v apt-get >/dev/null; then
    stop "PostgreSQL with PostGIS is not installed, and only apt's packages are installed by themselves here." \
        "Install PostgreSQL 15 or later with PostGIS 3 by your system's package manager, and run make setup again."
fi
if [ "$(id -u)" != 0 ]; then
    package="$(newest_package || true)"
    stop "PostgreSQL with PostGIS is not installed, and installing it takes root." \
        "Run: sudo apt-get update && sudo apt-get install --no-install-recommends ${package:-postgresql-15-postgis-3}"
fi

if [ "${1:-}" = check ]; then exit 0; fi

echo "setup: reading the lists of the system's packages"
# Nobody needs to read what the packages are in other languages.
apt-get update -qq -o DPkg::Lock::Timeout=300 -o Acquire::Languages=none
package="$(newest_package)"
[ -n "$package" ] || stop "apt has no PostgreSQL from 15 on with PostGIS." \
    "Add the PostgreSQL project's own packages (https://wiki.postgresql.org/wiki/Apt), and run make setup again."
echo "setup: installing $package, to download: $(download_size) MB"
leave_clusters_alone
said="$(mktemp)"
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$package" \
    >"$said" 2>&1 || { cat "$said" >&2 && stop "apt could not install $package; it says why above."; }
rm "$said"
