#!/usr/bin/env bash
# QGIS and GDAL, by the system's packages, for `make test-clients`. Nothing else needs them.
set -euo pipefail
target=test-clients
. "$(dirname "$0")/apt.sh"

# Of a QGIS that came otherwise, the Python that has its modules.
if command -v ogr2ogr >/dev/null && "${QGIS_PYTHON:-/usr/bin/python3}" -c 'import qgis.core' 2>/dev/null; then
    exit 0
fi
hint="Install both by your system's package manager (macOS: brew install gdal; brew install --cask qgis), and run
QGIS_PYTHON=/path/to/the/python/of/qgis make test-clients"
need_apt "QGIS and GDAL are" "$hint" python3-qgis qgis-providers gdal-bin
apt_install python3-qgis qgis-providers gdal-bin
