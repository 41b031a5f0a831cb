#!/usr/bin/env bash
# Brings MapLibre from npm into flux_assets/map/page/maplibre/. It is kept there, rather than fetched by `make map`: so the
# map needs neither Node nor a network, is in the package that pip installs, and cannot change by itself.
# After a change of version: run this, commit, `make test-ui`.
set -euo pipefail
cd "$(dirname "$0")/.."
version=6.17.0
integrity=sha512-2chIZwpLGenoUQOcnm9Pk4SLbA8ppNFq8jlpXiq9vcYm3Y1wJ3fc82FL0GLwBaPYJCLzPv/mC46KEupVov75rQ==

command -v npm >/dev/null || {
    echo "vendor_maplibre: npm is not installed. Install Node.js (apt-get install npm), and run this again." >&2
    exit 1
}
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
archive="$(cd "$folder" && npm pack --silent "maplibre-gl@$version")"
found="sha512-$(openssl dgst -sha512 -binary "$folder/$archive" | base64 -w 0)"
if [ "$found" != "$integrity" ]; then
    echo "vendor_maplibre: maplibre-gl $version is not what it was: $found. Compare with the registry's dist.integrity." >&2
    exit 1
fi
tar -xzf "$folder/$archive" -C "$folder"
into=flux_assets/map/page/maplibre
rm -rf "$into"
mkdir -p "$into"
for file in LICENSE.txt dist/maplibre-gl.mjs dist/maplibre-gl-worker.mjs dist/maplibre-gl.css; do
    # Without the line that names a source map, which stays behind.
    sed '/^\/\/# sourceMappingURL=/d' "$folder/package/$file" >"$into/${file#dist/}"
done
