-- What the pages of assets in Dagster's UI suggest to ask; none of it is run by us.

-- some_rows --
SELECT * FROM {table} LIMIT 10;

-- status --
SELECT * FROM postgres_sync.v_sync_status WHERE layer_name = {layer};

-- versions --
SELECT version, release_tag, state, rows, published_at FROM postgres_sync.layer_versions
WHERE layer_name = {layer} ORDER BY lease DESC;
