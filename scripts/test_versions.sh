#!/usr/bin/env bash
# The tests of all that leans on Dagster and SQLAlchemy, with the lowest and the newest versions that pyproject.toml
# allows, and with SQLAlchemy 2.0 beside the newest of all others. Each set has an environment of its own, made anew by
# uv; `VERSIONS=lowest` picks one. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
# Many containers forbid Python to keep its bytecode; without it every process of the tests would compile all packages.
unset PYTHONDONTWRITEBYTECODE
root="$(pwd -P)"
tests=(
    flux_assets_tests/orchestration flux_assets_tests/wiring flux_assets_tests/project/test_definitions.py
    flux_assets_tests/test_spec.py flux_assets_tests/test_tables.py flux_assets_tests/layers/test_load.py
)

find_uv() {
    local installed=.venv/versions/uv
    if command -v uv; then return; fi
    if [ ! -x "$installed/bin/uv" ]; then
        .venv/bin/python -m venv "$installed"
        "$installed/bin/python" -m pip install --quiet --disable-pip-version-check uv
    fi
    echo "$root/$installed/bin/uv"
}

# The arguments say which versions to choose.
make_environment() {
    local environment=".venv/versions/$1"
    shift
    rm -rf "$environment"
    "$uv" venv --quiet --python .venv/bin/python "$environment"
    "$uv" pip compile --quiet pyproject.toml --extra build --extra embedded --extra test --python "$environment/bin/python" \
        --no-header --no-annotate "$@" -o "$environment/versions.txt"
    "$uv" pip install --quiet --compile-bytecode --python "$environment/bin/python" --no-deps \
        -r "$environment/versions.txt"
    "$uv" pip install --quiet --python "$environment/bin/python" --no-deps --no-build-isolation -e .
    grep -E '^(dagster|dagster-postgres|sqlalchemy|psycopg|psycopg2-binary|pydantic|geoalchemy2)==' "$environment/versions.txt" |
        paste -s -d ' ' -
}

uv="$(find_uv)"
mkdir -p .venv/versions
echo 'sqlalchemy<2.1' >.venv/versions/sqlalchemy-2.0.txt
failed=()
for name in ${VERSIONS:-lowest sqlalchemy-2.0 newest}; do
    case "$name" in
    lowest) choice=(--resolution lowest-direct) ;;
    sqlalchemy-2.0) choice=(--upgrade --constraint .venv/versions/sqlalchemy-2.0.txt) ;;
    newest) choice=(--upgrade) ;;
    *)
        echo "test-versions: $name is none of lowest, sqlalchemy-2.0 and newest." >&2
        exit 2
        ;;
    esac
    printf '\ntest-versions: %s: ' "$name"
    make_environment "$name" "${choice[@]}"
    # Old packages warn of what newer ones beside them no longer like.
    ".venv/versions/$name/bin/python" -m pytest -n auto -W default "${tests[@]}" "$@" || failed+=("$name")
done
if [ "${#failed[@]}" -gt 0 ]; then
    echo "test-versions: failed with ${failed[*]}" >&2
    exit 1
fi
