-- Whether an object has a change token: run it before and after a change. It needs no warehouse.
-- snow sql -f sql/snowflake/probe_change_token.sql -D "object=FLUX_DB.PRODUCTION.WORK_ORDERS"
SELECT SYSTEM$LAST_CHANGE_COMMIT_TIME('<% object %>') AS TOKEN
