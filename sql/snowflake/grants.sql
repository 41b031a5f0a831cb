-- A role that may read the sources and nothing else, for the user that the sync signs in as. Run it as a role that may
-- grant them (SECURITYADMIN, or the owner of the database):
--   snow sql -f sql/snowflake/grants.sql -D "database=FLUX_DB" -D "role=FLUX_SYNC" -D "warehouse=FLUX_SYNC_WH" -D "user=FLUX_SYNC"
-- Sources that FLUX_CONFIG puts elsewhere need USAGE on their database and schema, and SELECT, in the same way.
CREATE ROLE IF NOT EXISTS <% role %>;
GRANT USAGE ON DATABASE <% database %> TO ROLE <% role %>;
GRANT USAGE ON SCHEMA <% database %>.<% schema | default('PRODUCTION') %> TO ROLE <% role %>;
GRANT SELECT ON TABLE <% database %>.<% schema | default('PRODUCTION') %>.OUTAGE_RESTORATION_TRACKER TO ROLE <% role %>;
GRANT SELECT ON TABLE <% database %>.<% schema | default('PRODUCTION') %>.WORK_ORDERS TO ROLE <% role %>;
GRANT SELECT ON TABLE <% database %>.<% schema | default('PRODUCTION') %>.CIRCUIT_METADATA TO ROLE <% role %>;
-- USAGE lets a suspended warehouse resume by itself; OPERATE is not needed.
GRANT USAGE ON WAREHOUSE <% warehouse %> TO ROLE <% role %>;
GRANT ROLE <% role %> TO USER <% user %>;
-- A service signs in with a key pair; its public half belongs to the user: ALTER USER … SET RSA_PUBLIC_KEY = …
ALTER USER <% user %> SET DEFAULT_ROLE = <% role %>;
