#!/usr/bin/env bash
# Run once by the PostGIS image, after roles.sql: passwords, and the database of Dagster's history.
# On a server of your own: DAGSTER_PASSWORD=… FLUX_PASSWORD=… TILES_PASSWORD=… POSTGRES_USER=postgres POSTGRES_DB=maps \
#   bash deploy/postgis/passwords.sh
set -euo pipefail
: "${FLUX_PASSWORD:?is not set}" "${DAGSTER_PASSWORD:?is not set}"
# psql reads the values from the environment, so that no list of processes shows them.
psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv flux FLUX_PASSWORD
\getenv dagster DAGSTER_PASSWORD
\getenv tiles TILES_PASSWORD
ALTER ROLE flux PASSWORD :'flux';
CREATE ROLE dagster LOGIN PASSWORD :'dagster';
-- An administrator that is no superuser gives a database only to a role that it is a member of.
GRANT dagster TO CURRENT_USER;
CREATE DATABASE dagster OWNER dagster ENCODING 'UTF8' TEMPLATE template0;
REVOKE CONNECT, TEMPORARY ON DATABASE dagster FROM PUBLIC;
REVOKE dagster FROM CURRENT_USER;
\if :{?tiles}
SELECT :'tiles' <> '' AS wanted \gset
\if :wanted
CREATE ROLE flux_tiles LOGIN PASSWORD :'tiles' CONNECTION LIMIT 20;
GRANT flux_reader TO flux_tiles;
\endif
\endif
SQL
