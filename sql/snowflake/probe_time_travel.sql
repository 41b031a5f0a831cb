-- Whether an object can be read as of an instant: it answers, or says why not. The sync asks the same, by describing it.
-- snow sql -f sql/snowflake/probe_time_travel.sql -D "object=FLUX_DB.PRODUCTION.WORK_ORDERS"
SELECT 1 AS A FROM <% object %> AT(TIMESTAMP => CURRENT_TIMESTAMP()) LIMIT 1
