#!/usr/bin/env bash
# QGIS and GDAL, by the system's packages, for `make test-clients`. Nothing else needs them.
set -euo pipefail

stop() {
    printf 'test-clients: %s\n' "$@" >&2
    exit 1
}

if command -v ogr2ogr >/dev/null && /usr/bin/python3 -c 'import qgis.core' 2>/dev/null; then
    exit 0
fi
command -v apt-get >/dev/null || stop "QGIS and GDAL are not installed, and only apt's packages are installed by themselves here."
if [ "$(id -u)" != 0 ]; then
    stop "QGIS and GDAL are not installed, and installing them takes root." \
        "Run: sudo apt-get update && sudo apt-get install --no-install-recommends python3-qgis qgis-providers gdal-bin"
fi
echo "test-clients: installing QGIS and GDAL"
apt-get update -qq -o DPkg::Lock::Timeout=300
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 \
    python3-qgis qgis-providers gdal-bin >/dev/null
