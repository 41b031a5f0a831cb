#!/usr/bin/env bash
# QGIS and GDAL, by the system's packages, for `make test-clients`. Nothing else needs them.
set -euo pipefail

stop() {
    printf 'test-clients: %s\n' "$@" >&2
    exit 1
}

# Of a QGIS that came otherwise, the Python that has its modules.
if command -v ogr2ogr >/dev/null && "${QGIS_PYTHON:-/usr/bin/python3}" -c 'import qgis.core' 2>/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    stop "QGIS and GDAL are not installed, and only apt's packages are installed by themselves here." \
        "Install both by your system's package manager (macOS: brew install gdal; brew install --cask qgis), and run" \
        "QGIS_PYTHON=/path/to/the/python/of/qgis make test-clients"
fi
if [ "$(id -u)" != 0 ]; then
    stop "QGIS and GDAL are not installed, and installing them takes root." \
        "Run: sudo apt-get update && sudo apt-get install --no-install-recommends python3-qgis qgis-providers gdal-bin"
fi
apt-get update -qq -o DPkg::Lock::Timeout=300
echo "test-clients: installing QGIS and GDAL"
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 \
    python3-qgis qgis-providers gdal-bin >/dev/null
