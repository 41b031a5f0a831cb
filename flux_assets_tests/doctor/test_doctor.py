"""The examination: each fault is made for real, found, and fixed by what the finding says to do."""

import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import snowflake.connector

from flux_assets.doctor.examination import examine
from flux_assets.doctor.finding import Finding
from flux_assets.postgis.session import Target
from flux_assets.sample import binaries
from flux_assets.sample.cluster import OWNER, Cluster
from flux_assets.settings import REPOSITORY, load_settings
from flux_assets.snowflake.account import Account
from flux_assets.tables import dynamic_tables
from flux_assets_tests.conftest import TEMPLATE
from flux_assets_tests.leasing import someone_else
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.synced import settings_of

pytestmark = pytest.mark.bare

POLES = made_up()
Doctor = Callable[..., list[Finding]]


@pytest.fixture
def doctor(monkeypatch, cluster, database, tmp_path) -> Doctor:
    """Examines the made-up layer in the fresh database, with settings on top."""

    def run(**given: str | None) -> list[Finding]:
        load_settings.cache_clear()
        usual = {"FLUX_POSTGRES_URL": cluster.tcp_url(database), "FLUX_RELEASE": str(tmp_path / "v1")}
        for name, value in (usual | given).items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        return list(examine([POLES, *dynamic_tables()]))

    return run


@pytest.fixture(autouse=True)
def loader(target, tmp_path) -> Loader:
    """A release of the made-up layer, not yet loaded."""
    folder = ReleaseFolder(tmp_path / "v1")
    folder.write(POLES, rows(5))
    return Loader(target, folder)


@pytest.fixture
def stranger(cluster, database) -> Iterator[str]:
    """A role of which the database knows nothing but how it signs in."""
    name = f"stranger_{uuid4().hex[:8]}"
    with cluster.admin_session(database) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret-word'")
    yield name
    with cluster.admin_session(database) as admin:
        admin.execute(f"DROP OWNED BY {name} CASCADE")
        admin.execute(f"DROP ROLE {name}")


def failed(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.outcome == "failed"]


def saying(found: list[Finding], words: str) -> Finding:
    fitting = [finding for finding in found if words in finding.message]
    assert len(fitting) == 1, [finding.message for finding in found]
    return fitting[0]


def remedy(finding: Finding) -> str:
    """The statement that the finding says to run."""
    return re.search(
        r"Run ((?:GRANT|REVOKE|ALTER|DROP|CREATE).*?)(?: as |, or |; |, load|, which|\.$)", finding.remedy
    )[1]


def as_user(cluster, database, user) -> str:
    where = urlsplit(cluster.tcp_url(database))
    return f"postgresql://{user}:secret-word@127.0.0.1:{where.port}/{database}"


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_a_fresh_database_is_fine_and_stays_as_it_is(doctor, sql):
    before = sql("SELECT oid, relname FROM pg_class ORDER BY 1")
    found = doctor()
    assert failed(found) == []
    assert sql("SELECT oid, relname FROM pg_class ORDER BY 1") == before
    assert saying(found, "PostGIS: configured by FLUX_POSTGRES_URL").outcome == "ok"
    assert saying(found, "with PostGIS").outcome == "ok"
    assert saying(found, "the first load can create the schemas").outcome == "ok"
    assert saying(found, "the files of 1 of 1 layers exist").outcome == "ok"


def test_a_loaded_database_is_fine(doctor, loader):
    loader.load(POLES)
    found = doctor()
    assert failed(found) == []
    assert saying(found, "a table was created and dropped in schema flux_versions").outcome == "ok"
    assert saying(found, "nothing prevents publishing").outcome == "ok"
    assert saying(found, "nothing prevents syncing").outcome == "ok"
    assert saying(found, "Snowflake: SNOWFLAKE_ACCOUNT is not set").outcome == "warning"


def test_an_illegal_setting_is_shown_and_does_not_end_the_examination(doctor):
    found = doctor(FLUX_PUBLISH_WAIT="soon", FLUX_POSTGRES_URL="mysql://me:pass-word@host/db")
    (finding,) = failed(found)
    assert "FLUX_PUBLISH_WAIT = 'soon'" in finding.message
    assert "FLUX_POSTGRES_URL" in finding.message
    assert "pass-word" not in str(found)


def test_a_misspelt_setting_is_named_with_what_was_meant(doctor):
    assert "FLUX_POSTGRES_SCHEMA" in saying(doctor(FLUX_POSTGRES_SHEMA="gis"), "FLUX_POSTGRES_SHEMA").remedy


def test_a_misspelt_setting_in_a_dot_env(doctor, tmp_path):
    (tmp_path / "mine.env").write_text("# FLUX_COMMENT=1\nexport FLUX_KEEP_VERSION=3\nFLUX_KEEP_VERSIONS=2\n")
    found = doctor(FLUX_ENV_FILE=str(tmp_path / "mine.env"))
    assert saying(found, "FLUX_KEEP_VERSION ").outcome == "warning"
    assert saying(found, "mine.env is read").outcome == "ok"
    assert not [finding for finding in found if "FLUX_COMMENT" in finding.message]


def test_a_dot_env_that_does_not_exist(doctor):
    assert saying(doctor(FLUX_ENV_FILE="/nowhere/mine.env"), "/nowhere/mine.env").outcome == "warning"


def test_production_provides_nothing(doctor):
    found = doctor(FLUX_PROFILE="production", FLUX_POSTGRES_URL=None, FLUX_RELEASE=None)
    remedies = " ".join(finding.remedy for finding in failed(found))
    assert all(name in remedies for name in ("FLUX_POSTGRES_URL", "FLUX_RELEASE", "DAGSTER_POSTGRES_URL"))


def test_production_provides_no_stand_in_either(doctor):
    found = doctor(FLUX_PROFILE="production", SNOWFLAKE_ACCOUNT="stand-in")
    assert "SNOWFLAKE_ACCOUNT=stand-in" in " ".join(finding.message for finding in failed(found))
    assert not [finding for finding in found if "starts the stand-in" in finding.message]


def test_a_sync_that_is_running_is_named(doctor, cluster, database):
    with someone_else(cluster.url(database)):
        found = doctor()
    assert failed(found) == []
    assert "another" in saying(found, "a sync is running").message


def test_the_variable_of_workspace_yaml_is_known(doctor):
    assert not [finding for finding in doctor(FLUX_CODE_HOST="code") if "FLUX_CODE_HOST" in finding.message]


def test_the_embedded_ends_when_nothing_is_set(doctor, new_home):
    Cluster(new_home).start()
    found = doctor(FLUX_POSTGRES_URL=None, FLUX_RELEASE=None, FLUX_HOME=str(new_home))
    assert failed(found) == []
    assert saying(found, "PostGIS: the embedded one").outcome == "ok"
    assert saying(found, "the sample city at scale").outcome == "ok"
    assert saying(found, "the first sync starts the stand-in").outcome == "note"
    assert not (new_home / "release").exists()
    assert not (new_home / "snowflake").exists()


def test_a_release_is_asked_for_where_a_database_is_set(doctor):
    (finding,) = failed(doctor(FLUX_RELEASE=None))
    assert "FLUX_RELEASE=sample" in finding.remedy


def test_a_name_without_an_address(doctor):
    found = doctor(FLUX_POSTGRES_URL="postgresql://me:pass-word@no-such-host.invalid/maps?connect_timeout=5")
    assert "has no address" in failed(found)[0].message
    assert "pass-word" not in str(found)


def test_a_port_where_nobody_listens(doctor):
    port = closed_port()
    found = doctor(FLUX_POSTGRES_URL=f"postgresql://me@127.0.0.1:{port}/maps")
    assert f"does not answer on port {port}" in failed(found)[0].message
    assert saying(found, "the files of 1 of 1 layers").outcome == "ok"


def test_a_socket_that_is_not_there(doctor, tmp_path):
    found = doctor(FLUX_POSTGRES_URL=f"postgresql://me@/maps?host={tmp_path}")
    assert f"no Unix socket {tmp_path}/.s.PGSQL.5432" in failed(found)[0].message


def test_a_wrong_password(doctor, cluster, database, stranger):
    found = doctor(FLUX_POSTGRES_URL=as_user(cluster, database, stranger).replace("secret-word", "wrong-word"))
    assert "refuses the password or the user" in failed(found)[0].message
    assert saying(found, "answers on port").outcome == "ok"
    assert "wrong-word" not in str(found)


def test_a_missing_database(doctor, cluster):
    (finding,) = failed(doctor(FLUX_POSTGRES_URL=cluster.tcp_url("no_such_database")))
    assert "Create the database" in finding.remedy


def test_a_server_without_tls(doctor, cluster, database):
    (finding,) = failed(doctor(FLUX_POSTGRES_URL=cluster.tcp_url(database) + "?sslmode=require"))
    assert "offers no TLS" in finding.message
    assert "ssl = on" in finding.remedy


def test_a_server_that_would_be_spoken_to_unencrypted(doctor):
    url = "postgresql://me:pass-word@/maps?host=/none,10.0.0.1&sslmode=require&sslmode=disable"
    finding, storage = failed(doctor(FLUX_POSTGRES_URL=url, DAGSTER_POSTGRES_URL=url))
    assert "FLUX_POSTGRES_URL: 10.0.0.1 is another machine, and sslmode=disable" in finding.message
    assert "DAGSTER_POSTGRES_URL: 10.0.0.1" in storage.message
    assert "verify-full" in finding.remedy
    assert "pass-word" not in f"{finding} {storage}"


def test_no_postgis(doctor, cluster):
    name = f"plain_{uuid4().hex[:8]}"
    cluster.ensure_plain_database(name)
    try:
        (finding,) = failed(doctor(FLUX_POSTGRES_URL=cluster.tcp_url(name)))
    finally:
        with cluster.admin_session() as admin:
            admin.execute(f"DROP DATABASE {name} (FORCE)")
    assert "PostGIS is not installed" in finding.message
    assert "CREATE EXTENSION postgis" in finding.remedy


def test_read_only_sessions(doctor, cluster, database, stranger, admin_sql):
    admin_sql(f"ALTER ROLE {stranger} SET default_transaction_read_only = on")
    (finding,) = failed(doctor(FLUX_POSTGRES_URL=as_user(cluster, database, stranger)))
    assert "read-only" in finding.message
    admin_sql(remedy(finding))
    assert not [f for f in doctor(FLUX_POSTGRES_URL=as_user(cluster, database, stranger)) if "read-only" in f.message]


def test_a_missing_schema(doctor, sql):
    (finding,) = failed(doctor(FLUX_POSTGRES_SCHEMA="gis"))
    sql(remedy(finding))
    assert failed(doctor(FLUX_POSTGRES_SCHEMA="gis")) == []


def test_every_right_that_a_load_lacks_is_named_and_given_by_its_remedy(
    doctor, loader, cluster, database, stranger, admin_sql
):
    url = as_user(cluster, database, stranger)
    admin_sql(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    found = doctor(FLUX_POSTGRES_URL=url)
    assert len(failed(found)) == 3
    assert saying(failed(found), f'user "{stranger}" may not create temporary tables')
    unseen = saying(found, "cannot name what it waits for")
    for finding in [*failed(found), unseen]:
        admin_sql(remedy(finding))
    found = doctor(FLUX_POSTGRES_URL=url)
    wrong = [finding.message for finding in found if finding.outcome in {"failed", "warning"}]
    assert [said for said in wrong if not said.startswith("Snowflake: ")] == []
    assert Loader(Target(conninfo=url), loader.source).load(POLES).outcome == "published"


def test_tables_that_belong_to_somebody_else(doctor, loader, cluster, database, stranger, admin_sql):
    """What another loader made cannot be published into."""
    loader.load(POLES)
    url = as_user(cluster, database, stranger)
    (found,) = [finding for finding in failed(doctor(FLUX_POSTGRES_URL=url)) if "belong to" in finding.message]
    names = found.message.partition(" belong")[0].split(", ")
    assert names[-1] == "public.poles"
    assert any(name.startswith("flux_versions.public__poles") for name in names)
    assert "postgres_sync.sync_status" in names
    for finding in [found, *failed(doctor(FLUX_POSTGRES_URL=url))]:
        admin_sql(remedy(finding))
    assert failed(doctor(FLUX_POSTGRES_URL=url)) == []
    assert Loader(Target(conninfo=url), loader.source).load(POLES, force=True).outcome == "published"


def test_a_role_that_sees_the_versions(doctor, loader, stranger, admin_sql):
    loader.load(POLES)
    admin_sql(f"GRANT USAGE ON SCHEMA flux_versions TO {stranger}")
    finding = saying(doctor(), "map tools will list layers twice")
    assert (finding.outcome, stranger in finding.message) == ("warning", True)
    admin_sql(remedy(finding))
    assert saying(doctor(), "map tools list each layer once").outcome == "ok"


def test_everybody_sees_the_versions(doctor, loader, sql):
    loader.load(POLES)
    sql("GRANT USAGE ON SCHEMA flux_versions TO PUBLIC")
    finding = saying(doctor(), "map tools will list layers twice")
    sql(remedy(finding))
    assert saying(doctor(), "map tools list each layer once").outcome == "ok"


def test_a_plain_table_in_the_way(doctor, loader, sql):
    sql("CREATE TABLE poles (id text)")
    (finding,) = failed(doctor())
    assert "a plain table" in finding.message
    assert "take_over: true" in finding.remedy
    loader.load(POLES, take_over=True)
    assert failed(doctor()) == []


def test_an_inbound_foreign_key(doctor, loader, sql):
    loader.load(POLES)
    sql("CREATE TABLE lamps (pole text REFERENCES poles)")
    (finding,) = failed(doctor())
    assert "lamps_pole_fkey" in finding.message
    sql(remedy(finding))
    assert failed(doctor()) == []


def test_a_strange_partition(doctor, loader, sql):
    loader.load(POLES)
    sql("CREATE TABLE mine PARTITION OF poles FOR VALUES IN ('mine')")
    (finding,) = failed(doctor())
    assert "mine" in finding.message


def test_a_gist_index_on_the_public_table(doctor, loader, sql):
    loader.load(POLES)
    sql("CREATE INDEX poles_where ON poles USING gist (geom)")
    with pytest.raises(psycopg.Error):
        sql("SELECT ST_EstimatedExtent('public', 'poles', 'geom')")
    finding = saying(doctor(), "poles_where")
    assert finding.outcome == "warning"
    sql(remedy(finding))
    loader.load(POLES, force=True)
    assert sql("SELECT ST_EstimatedExtent('public', 'poles', 'geom') IS NOT NULL") == [(True,)]


def test_a_transaction_left_open_that_has_read_a_layer(doctor, loader, cluster, database):
    loader.load(POLES)
    with psycopg.connect(cluster.conninfo(database), application_name="forgotten map") as session:
        session.execute("SELECT count(*) FROM poles")
        finding = saying(doctor(), "a publish waits until that transaction ends")
        assert finding.outcome == "warning"
        assert f"process {session.info.backend_pid} " in finding.message
        assert "forgotten map" in finding.message
    assert not [f for f in doctor() if "a publish waits until" in f.message]


def test_what_a_partitioned_table_changes_is_told_once_and_each_way_round_works(doctor, loader, sql, tmp_path, cluster):
    loader.load(POLES)
    notes = {
        finding.message: finding.remedy
        for finding in doctor()
        if finding.group == "Layers" and finding.outcome == "note"
    }
    assert len(notes) == 4
    with pytest.raises(psycopg.errors.WrongObjectType):
        sql("COPY poles TO STDOUT")
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        sql("CREATE INDEX CONCURRENTLY ON poles (score)")
    said = " ".join(notes.values())
    assert sql(re.search(r"SELECT sum.*?\)\)? FROM pg_partition_tree\('poles'\)", said)[0]) > [(0,)]
    assert "COPY (SELECT * FROM poles) TO" in said
    sql(re.search(r"CREATE INDEX ON poles", said)[0] + " (score)")


def test_pg_dump_of_a_layer_takes_what_the_note_says(doctor, loader, cluster, database):
    loader.load(POLES)
    note = saying(doctor(), "pg_dump -t poles dumps no rows")
    alone = dumped(cluster, database, "-t", "public.poles")
    both = dumped(cluster, database, *re.search(r"pg_dump (-t public\.poles -t \S+);", note.remedy)[1].split())
    assert "Pole 4" not in alone
    assert "Pole 4" in both
    copy = f"copy_{uuid4().hex[:8]}"
    with cluster.admin_session() as admin:
        admin.execute(f"CREATE DATABASE {copy} TEMPLATE {TEMPLATE} OWNER {OWNER}")
    try:
        with psycopg.connect(cluster.conninfo(copy)) as session:
            session.execute("CREATE SCHEMA flux_versions")
        command = [binaries.find().program("psql"), "-qd", cluster.tcp_url(copy), "-v", "ON_ERROR_STOP=1"]
        subprocess.run(command, input=both, text=True, check=True, capture_output=True)
        with psycopg.connect(cluster.conninfo(copy)) as session:
            assert session.execute("SELECT count(*) FROM public.poles").fetchone() == (5,)
    finally:
        with cluster.admin_session() as admin:
            admin.execute(f"DROP DATABASE {copy} (FORCE)")


def dumped(cluster, database, *what: str) -> str:
    command = [binaries.find().program("pg_dump"), "--no-owner", "--no-acl", "-d", cluster.tcp_url(database), *what]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_release_that_lacks_a_file(doctor, loader):
    (loader.source.folder / POLES.file_name).unlink()
    (finding,) = failed(doctor())
    assert POLES.file_name in finding.message


def test_files_that_no_declaration_names(doctor, loader):
    assert not any("no declaration names" in finding.message for finding in doctor())
    loader.source.write(made_up("cables"), rows(1))
    (finding,) = [finding for finding in doctor() if "no declaration names" in finding.message]
    assert (finding.outcome, "cables" in finding.message) == ("warning", True)


def test_a_release_that_is_not_there(doctor):
    (finding,) = failed(doctor(FLUX_RELEASE="/nowhere/at/all"))
    assert "/nowhere/at/all" in finding.message


def test_a_damaged_manifest_and_one_that_promises_another_size(doctor, loader):
    (loader.source.folder / "manifest.json").write_text("{")
    assert "manifest.json" in failed(doctor())[0].message
    loader.source.promise(POLES, bytes=1)
    assert "the manifest says 1" in failed(doctor())[0].message
    loader.source.promise(POLES)
    assert failed(doctor()) == []


def test_secrets_of_a_release_address_are_not_shown(doctor, loader):
    handler = partial(SimpleHTTPRequestHandler, directory=loader.source.folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://me:pass-word@127.0.0.1:{server.server_port}/{{}}?token=sign-word"
        there, elsewhere = doctor(FLUX_RELEASE=address.format("")), doctor(FLUX_RELEASE=address.format("v9"))
        server.shutdown()
    assert failed(there) == []
    assert POLES.file_name in failed(elsewhere)[0].message
    assert "pass-word" not in str((there, elsewhere))
    assert "sign-word" not in str((there, elsewhere))


def test_a_disk_limit_that_is_too_small(doctor):
    (finding,) = failed(doctor(FLUX_DISK_LIMIT="1kB"))
    assert "poles" in finding.message
    assert "FLUX_DISK_LIMIT" in finding.remedy
    assert failed(doctor(FLUX_DISK_LIMIT="1GB")) == []


def test_dagsters_storage_that_does_not_answer(doctor):
    found = doctor(DAGSTER_POSTGRES_URL=f"postgresql://me:pass-word@127.0.0.1:{closed_port()}/dagster")
    assert "Dagster's storage cannot be reached" in failed(found)[0].message
    assert "pass-word" not in str(found)


def test_dagsters_storage_in_the_layers_database(doctor, cluster, database):
    found = doctor(DAGSTER_POSTGRES_URL=cluster.tcp_url(database))
    assert saying(found, "Dagster's storage is the database of the layers").outcome == "warning"
    assert not [f for f in doctor(DAGSTER_POSTGRES_URL=None) if "the database of the layers" in f.message]


def test_where_dagsters_settings_are_read_from(doctor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "leave no history" in saying(doctor(), "DAGSTER_HOME is not set").message
    assert saying(doctor(DAGSTER_HOME=str(tmp_path)), "has no dagster.yaml").outcome == "warning"
    assert saying(doctor(DAGSTER_HOME=str(REPOSITORY)), "dagster.yaml is read from").outcome == "ok"


def test_no_psql_anywhere(doctor, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert doctor()[-1].message == f"psql is {binaries.find().program('psql')}"
    monkeypatch.setattr(binaries, "_PATTERNS", ())
    assert (doctor()[-1].group, doctor()[-1].outcome) == ("Programs", "warning")


@pytest.fixture
def configured(source: Account) -> dict[str, str]:
    """The settings of a source with all three tables, outages in the second shape."""
    with snowflake.connector.connect(**source.arguments()) as connection:
        for statement in (
            "CREATE TABLE OUTAGE_RESTORATION_TRACKER (OUTAGE_ID VARCHAR, CIRCUIT_ID VARCHAR, STATUS VARCHAR,"
            " OUTAGE_START_TIME TIMESTAMP_NTZ, AFFECTED_CUSTOMERS INT)",
            "CREATE TABLE WORK_ORDERS (WORK_ORDER_ID VARCHAR, STATUS VARCHAR, SCHEDULED_DATE TIMESTAMP_NTZ)",
            "CREATE VIEW CIRCUITS AS SELECT WORK_ORDER_ID AS CIRCUIT_ID FROM WORK_ORDERS",
        ):
            connection.cursor().execute(statement)
    return settings_of(source)


def test_tables_from_outside_and_what_is_left_out_are_listed(doctor, tmp_path):
    (tmp_path / "moats.py").write_text("from flux_assets_tests.made_up import trees\n\nTABLE = trees()\n")
    found = doctor(FLUX_TABLES=str(tmp_path), FLUX_WITHOUT="vegetation_risk")
    assert saying(found, "declared outside: trees").remedy == f"trees: {tmp_path}/moats.py"
    assert saying(found, "vegetation_risk is left out by FLUX_WITHOUT").outcome == "note"
    assert saying(found, "vegetation_risk_computed is made from vegetation_risk, which is left out").outcome == "note"


def test_a_wrong_declaration_is_a_finding(tmp_path, monkeypatch):
    (tmp_path / "moats.py").write_text("\nTABLE = 1\n")
    monkeypatch.setenv("FLUX_TABLES", str(tmp_path))
    (wrong,) = failed(list(examine()))
    assert (wrong.group, f"{tmp_path}/moats.py, line 2" in wrong.message) == ("Tables", True)


def test_the_mapping_of_every_source_is_shown_as_resolved(doctor, configured):
    found = doctor(**configured)
    outages = saying(found, "outage_restoration_tracker is fed by")
    assert "customers_affected from AFFECTED_CUSTOMERS" in outages.remedy.splitlines()
    assert "same name in the source: outage_id, circuit_id, status" in outages.remedy.splitlines()
    assert (
        "substation_id is NULL, " in saying(found, 'OUTAGE_RESTORATION_TRACKER" has no source for some columns').message
    )
    assert "scheduled_start from" in saying(found, "work_orders is fed by").remedy
    # Of a further table there is no source here either.
    (missing,) = (finding for finding in failed(found) if "CIRCUIT_METADATA" in finding.message)
    assert missing.group == "Snowflake"


def test_what_stands_in_for_missing_columns_is_told(doctor, configured, tmp_path):
    config = tmp_path / "flux.toml"
    config.write_text("[CIRCUIT_METADATA]\nobject = 'CIRCUITS'\n")
    said = saying(doctor(**configured, FLUX_CONFIG=str(config)), 'CIRCUITS" has no source for some columns').message
    assert "status is ENERGIZED" in said
    assert "customers_served is filled from meter_locations_enhanced" in said


def test_open_statuses_that_nothing_counts_are_named(doctor, configured, tmp_path):
    config = tmp_path / "flux.toml"
    opened = "[OUTAGE_RESTORATION_TRACKER]\nopen_statuses = ['ACTIVE', 'DISPATCHED']\n"
    config.write_text(opened)
    found = saying(doctor(**configured, FLUX_CONFIG=str(config)), "outage_count does not count rows")
    assert found.outcome == "warning"
    assert "DISPATCHED" in found.message
    assert "ACTIVE" not in found.message
    assert "counted_statuses under [OUTAGE_RESTORATION_TRACKER]" in found.remedy
    config.write_text(f"{opened}counted_statuses = ['ACTIVE']\n")
    assert not [each for each in doctor(**configured, FLUX_CONFIG=str(config)) if "does not count" in each.message]


def test_nothing_is_said_of_what_a_source_can_do_where_none_of_its_tables_can_be_read(doctor, configured, tmp_path):
    config = tmp_path / "flux.toml"
    sources = ("OUTAGE_RESTORATION_TRACKER", "WORK_ORDERS", "CIRCUIT_METADATA")
    config.write_text("".join(f"[{name}]\nobject = 'GONE'\n" for name in sources))
    found = [each.message for each in doctor(**configured, FLUX_CONFIG=str(config)) if each.group == "Snowflake"]
    assert sum("GONE" in said for said in found) == 3
    assert not [said for said in found if "instant" in said or "token" in said]


def test_a_user_without_any_warehouse_is_told_how_to_have_one(doctor, configured):
    wrong = saying(doctor(**configured | {"SNOWFLAKE_WAREHOUSE": ""}), "user fake has no warehouse")
    assert wrong.outcome == "failed"
    assert "ALTER USER fake SET DEFAULT_WAREHOUSE" in wrong.remedy


def test_a_source_that_does_not_answer_is_one_finding(doctor, configured):
    found = doctor(**configured | {"SNOWFLAKE_PORT": "9"})
    assert [finding.group for finding in failed(found)] == ["Snowflake"]


def test_a_config_that_is_none_is_named(doctor, configured, tmp_path):
    config = tmp_path / "flux.toml"
    config.write_text("[OUTAGE_RESTORATION_TRACKER]\nwindows = '3d'\n")
    (wrong,) = failed(doctor(**configured, FLUX_CONFIG=str(config)))
    assert "windows" in wrong.message
    assert str(config) in wrong.message


def test_a_synced_table_that_cannot_be_written_is_named_with_its_remedy(doctor, sql):
    sql("CREATE TABLE work_orders (work_order_id varchar(50))")
    (wrong,) = failed(doctor())
    assert wrong.group == "Synced tables"
    assert "public.work_orders has no primary key" in wrong.message


def test_a_synced_table_that_is_gone_or_lacks_a_column_is_fixed_by_the_next_sync(doctor, utility, sql):
    def examined() -> list[Finding]:
        return [finding for finding in examine(utility.tables) if finding.group == "Synced tables"]

    doctor()
    assert [(each.outcome, each.remedy) for each in examined()] == [("ok", "created by the next sync: faults, feeders")]
    utility.synced()
    assert [(each.outcome, each.remedy) for each in examined()] == [("ok", "exist: faults, feeders")]
    sql("DROP TABLE faults")
    sql("ALTER TABLE feeders DROP COLUMN title")
    gone, lacking, way = examined()
    assert (gone.outcome, lacking.outcome, way.outcome) == ("warning", "warning", "ok")
    assert "public.faults was synced and is gone" in gone.message
    assert "public.feeders lacks title" in lacking.message
    assert way.remedy == "exist: feeders; created by the next sync: faults"
    utility.synced()
    assert [each.outcome for each in examined()] == ["ok"]
