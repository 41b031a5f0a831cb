#!/usr/bin/env bash
# The tests of all that speaks SQL, on another PostgreSQL with PostGIS, chosen by POSTGRES: 17 with PostGIS 3.5, as Debian
# 13 has them, 16 with PostGIS 3.4 of Ubuntu 24.04, or 18 with that of Debian's development branch. Their packages are
# unpacked below .venv/versions, where only the server's own programs see them: nothing is installed. Arguments go to
# pytest instead of the folders below.
set -euo pipefail
cd "$(dirname "$0")/.."
target=test-postgres
. scripts/apt.sh
# Many containers forbid Python to keep its bytecode; without it every process of the tests would compile all packages.
unset PYTHONDONTWRITEBYTECODE
root="$(pwd -P)"
tests=(
    flux_assets_tests/postgis flux_assets_tests/layers flux_assets_tests/sync flux_assets_tests/checks
    flux_assets_tests/compare flux_assets_tests/ledger flux_assets_tests/doctor flux_assets_tests/sample
)
major="${POSTGRES:-17}" of=Debian options=() from=()
case "$major" in
# By HTTPS, since Debian 12 has no package of Ubuntu's keys; the script is that of every Ubuntu, which it lists by names.
16)
    release=noble of=Ubuntu options=(--components=main,universe --no-check-gpg)
    from=(https://archive.ubuntu.com/ubuntu /usr/share/debootstrap/scripts/gutsy)
    ;;
17) release=trixie ;;
18) release=sid ;;
*)
    echo "POSTGRES=$major: the archives have 16, 17 and 18. The ordinary tests run on the one that is installed." >&2
    exit 2
    ;;
esac
system="$root/.venv/versions/postgresql-$major"

if ! command -v debootstrap >/dev/null || ! command -v bwrap >/dev/null; then
    need_apt "debootstrap and bubblewrap are" "Only Debian, Ubuntu and the like have these tests." debootstrap bubblewrap
    apt_install debootstrap bubblewrap
fi

if [ ! -x "$system/programs/postgres" ]; then
    rm -rf "$system"
    echo "test-postgres: unpacking PostgreSQL $major with PostGIS of $of's $release, 1 GB"
    debootstrap --foreign --variant=minbase --include="postgresql-$major-postgis-3" "${options[@]}" "$release" "$system" \
        "${from[@]}" >/dev/null
    for package in "$system"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$system"; done
    rm -rf "$system/var/cache/apt/archives"
    # As the package's installation would: which PostGIS is meant where several are there.
    for control in "$system/usr/share/postgresql/$major"/extension/postgis*-3.control; do
        ln -sf "$(basename "$control")" "${control%-3.control}.control"
    done
    mkdir "$system/unfinished"
    for program in "$system/usr/lib/postgresql/$major"/bin/*; do
        wrapper="$system/unfinished/$(basename "$program")"
        {
            echo '#!/bin/sh'
            if [ "$(basename "$program")" = pg_config ]; then
                echo "case \"\$1\" in --bindir) echo '$system/programs'; exit ;;"
                echo "--sharedir) echo '$system/usr/share/postgresql/$major'; exit ;; esac"
            fi
            echo "exec bwrap --dev-bind / / --ro-bind '$system/usr' /usr -- '/usr/lib/postgresql/$major/bin/$(basename "$program")' \"\$@\""
        } >"$wrapper"
        chmod +x "$wrapper"
    done
    mv "$system/unfinished" "$system/programs"
fi
export PATH="$system/programs:$PATH"
.venv/bin/python -c "from flux_assets.sample.binaries import find; print('Tested on', find($major))"

if [ $# = 0 ]; then set -- "${tests[@]}"; fi
.venv/bin/python -m pytest -n auto "$@"
