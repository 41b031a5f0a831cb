#!/usr/bin/env bash
# Removes from .venv what no program here reads: packages' own tests, the sources and headers of their compiled parts,
# type stubs, the source maps of Dagster's UI, Arrow's server protocol, Flight, GDAL, by which geopandas would read
# files, and AWS services other than S3. Those are a quarter of it.
# scripts/setup.sh, which runs this for the demo and the UI, makes .venv anew when tests and type checks are to run in it.
set -euo pipefail
cd "$(dirname "$0")/.."
packages="$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
cd "$packages"
for package in numpy pandas pyarrow matplotlib shapely; do
    find "$package" -type d -name tests -prune -exec rm -rf {} +
done
rm -rf pyarrow/include numpy/_core/include
find pyarrow -maxdepth 1 -name '*flight*' -delete
find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.[ch]pp' -o -name '*.[ch]' \) -delete
find dagster_webserver -type f -name '*.map' -delete
rm -rf pyogrio pyogrio.libs
find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts -exec rm -rf {} +
