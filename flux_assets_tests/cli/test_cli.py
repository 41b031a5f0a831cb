"""The command line, as a user types it: what it prints, what it leaves alone, its exit codes."""

import asyncio
import fcntl
import gzip
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result
from dagster._core.loader import LoadingContextForTest

from flux_assets.cli.main import main
from flux_assets.errors import FluxError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.settings import load_settings
from flux_assets.tables import declarations, static_tables
from flux_assets.tables.grid_power_lines import TABLE as LINES
from flux_assets.tables.power_lines_spatial import TABLE as SPATIAL_LINES
from flux_assets.tables.substations import TABLE as SUBSTATIONS
from flux_assets_tests.made_layers import ReleaseFolder
from flux_assets_tests.made_up import write_one_row
from flux_assets_tests.sample_cities import city_tables

pytestmark = pytest.mark.bare

PATIENCE = 60
WRONG_USE = (
    ["nope"], ["status", "--jsn"], ["sample"], ["rollback"], ["rollback", "substations", "--release", "v1"],
    ["rollback", "--release", "v1", "--to", "3f"], ["pin"], ["unpin"], ["unpin", "substations", "--all"],
)  # fmt: skip
PROGRAM = str(Path(sys.executable).with_name("flux-assets"))


@pytest.fixture
def configured(monkeypatch, cluster, database, tmp_path) -> dict[str, str]:
    """The fresh database as the configured target, and a folder of Dagster's own without a dagster.yaml."""
    given = {"FLUX_POSTGRES_URL": cluster.tcp_url(database), "DAGSTER_HOME": str(tmp_path / "dagster")}
    (tmp_path / "dagster").mkdir()
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    return os.environ | given


@pytest.fixture
def two_versions(configured, target, tmp_path) -> list[str]:
    """Substations loaded twice; the ids of both versions, the first load's first."""
    folder = ReleaseFolder(tmp_path / "release")
    write_one_row(folder.folder, SUBSTATIONS)
    ids = [load(target, folder)]
    content = (folder.folder / SUBSTATIONS.file_name).read_bytes()
    folder.write(SUBSTATIONS, unzipped(content).replace("A1", "B2"))
    return [*ids, load(target, folder)]


def load(target, folder: ReleaseFolder) -> str:
    return load_layer(SUBSTATIONS, folder.release, target, LoadOptions(run_id="run-1"), lambda _: None).version


def unzipped(raw: bytes) -> str:
    return gzip.decompress(raw).decode()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def shell(environment: dict[str, str], *arguments: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [PROGRAM, *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False, **more
    )


def test_help_answers_without_loading_anything_heavy():
    names = ["dagster", "pyarrow", "geopandas", "sqlalchemy", "pydantic", "psycopg", "numpy", "rich"]
    script = f"import sys, flux_assets.cli.main; print([name for name in {names} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed == "[]\n"


def test_every_command_has_help_with_an_example():
    assert {"up", "down", "status", "sample", "versions", "rollback", "pin", "unpin", "doctor", "psql"} <= set(
        main.commands
    )
    for name in main.commands:
        result = run(name, "--help")
        assert result.exit_code == 0
        assert f"flux-assets {name}" in result.output.partition("Example")[2]


def test_wrong_usage_is_exit_code_2():
    assert [run(*words).exit_code for words in WRONG_USE] == [2] * len(WRONG_USE)


def test_up_and_down(new_home, cluster):
    environment = os.environ | {"FLUX_HOME": str(new_home)}
    assert "Nothing to stop" in shell(environment, "down").stdout
    assert not (new_home / "postgres" / "data").exists()
    started = shell(environment, "up")
    assert started.returncode == 0, started.stderr
    secrets = new_home / "postgres" / "secrets.json"
    assert str(secrets) in started.stdout
    password = new_home / "snowflake" / "password"
    assert str(password) in started.stdout
    words = [*json.loads(secrets.read_text()).values(), password.read_text()]
    assert not [word for word in words if word in started.stdout]
    assert "flux\n" in shell(environment, "psql", "-c", "SELECT current_user").stdout
    assert shell(environment, "down").stdout.count("Stopped the ") == 2
    assert "Nothing to stop" in shell(environment, "down").stdout
    assert cluster.running(), "another cluster was stopped as well"


def test_up_in_production(monkeypatch):
    monkeypatch.setenv("FLUX_PROFILE", "production")
    assert run("up").exit_code == 1


def test_psql_passes_everything_on(configured):
    assert shell(configured, "psql", "-tAc", "SELECT 'it''s ' || current_database()").stdout.startswith("it's test_")
    assert shell(configured, "psql", "-At", "--set=x=7", "-c", "SELECT 1", "-c", "SELECT 2").stdout == "1\n2\n"
    assert shell(configured, "psql", "-At", input="SELECT :'PORT' IS NOT NULL").stdout == "t\n"
    assert "psql is the PostgreSQL interactive terminal" in shell(configured, "psql", "--", "--help").stdout
    assert "flux-assets psql" in shell(configured, "psql", "--help").stdout
    assert shell(configured, "psql", "-c", "SELECT wrong").returncode == 1


def test_psql_goes_to_another_database_when_asked(configured):
    assert shell(configured, "psql", "-At", "postgres", "-c", "SELECT current_database()").stdout == "postgres\n"


def test_psqls_command_line_holds_no_password(configured):
    shown = shell(configured, "psql", "-c", r"\! tr '\0' ' ' </proc/$PPID/cmdline").stdout
    assert "psql" in shown
    assert "postgresql://" not in shown
    assert configured["FLUX_POSTGRES_URL"].split(":")[2].split("@")[0] not in shown


def test_psql_without_a_configured_database_ignores_the_libpq_environment(cluster):
    astray = {"PGPORT": "1", "PGUSER": "nobody", "PGPASSWORD": "wrong", "PGDATABASE": "no"}
    done = shell(os.environ | astray, "psql", "-tAc", "SELECT current_user || ' ' || current_database()")
    assert done.stdout == "flux flux\n", done.stderr


def test_psql_beside_the_server_where_none_is_on_the_path(configured):
    done = shell(configured | {"PATH": "/nowhere"}, "psql", "-tAc", "SELECT 1")
    assert done.stdout == "1\n", done.stderr


def test_status_of_all_declared_tables(two_versions):
    result = run("status")
    assert result.exit_code == 0, result.output
    heading, *lines = result.output.splitlines()
    assert heading.startswith("table ")
    assert [line.split()[0] for line in lines] == [table.name for table in declarations()]
    (line,) = [line for line in lines if line.startswith("substations ")]
    assert line.split()[1:6] == ["live", "succeeded", two_versions[1][:12], "v1", "1"]
    assert {line.index("not synced") for line in lines[-3:]} == {heading.index("state")}


def test_the_status_says_whose_it_is_where_several_share_an_instance(configured, monkeypatch):
    monkeypatch.setenv("FLUX_UTILITY", "austin")
    load_settings.cache_clear()
    assert run("status").stdout.splitlines()[0] == "Utility austin, schema public"
    assert json.loads(run("status", "--json").stdout)["utility"] == "austin"


def test_a_failed_attempt_is_shown_and_is_no_reason_to_distrust_what_readers_see(two_versions, target, tmp_path):
    folder = ReleaseFolder(tmp_path / "broken")
    folder.write_raw(SUBSTATIONS, b"no gzip at all")
    with pytest.raises(FluxError):
        load(target, folder)
    seen = run("status")
    assert (seen.exit_code, seen.stderr) == (0, "")
    (line,) = [line for line in seen.stdout.splitlines() if line.startswith("substations ")]
    assert line.split()[1:3] == ["live", "failed"]
    assert "last attempt failed: just now: " in line
    attempts = run("status", "--attempts")
    assert attempts.exit_code == 1
    (line,) = [line for line in attempts.stdout.splitlines() if line.startswith("substations ")]
    assert "substations.csv.gz" in line
    (document,) = [
        each for each in json.loads(run("status", "--json").stdout)["tables"] if each["table"] == "substations"
    ]
    assert (document["trusted"], document["wrong"], document["attempt_failed"]) == (True, False, True)
    assert run("status", "--attempts", "--watch").exit_code == 2


def test_status_as_json(two_versions, sql):
    printed = json.loads(run("status", "--json").stdout)
    assert (printed["schema"], len(printed["tables"])) == ("public", len(declarations()))
    (table,) = [table for table in printed["tables"] if table["table"] == "substations"]
    assert (table["version"], table["state"], table["wrong"]) == (two_versions[1], "live", False)
    sql("ALTER TABLE substations RENAME TO elsewhere")
    result = run("status", "--json")
    assert result.exit_code == 1
    assert [table["table"] for table in json.loads(result.stdout)["tables"] if table["wrong"]] == ["substations"]


def test_versions(two_versions):
    assert [line.split()[1] for line in run("versions").output.splitlines()[1:]] == [
        version[:12] for version in reversed(two_versions)
    ]
    assert run("versions", "transformers").output.startswith("No version yet")
    printed = json.loads(run("versions", "substations", "--json").stdout)
    assert [version["version"] for version in printed] == two_versions[::-1]
    assert (printed[0]["current"], printed[0]["run_id"], printed[0]["table"]) == (True, "run-1", "substations")


@pytest.mark.parametrize(
    "words",
    [
        ("versions", "roads"),
        ("rollback", "roads"),
        ("rollback", "work_orders"),
        ("pin", "roads"),
        ("unpin", "work_orders"),
    ],
)
def test_a_layer_that_does_not_exist(words, configured):
    result = run(*words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert all(table.name in result.stderr for table in static_tables())


def test_rollback_publishes_the_earlier_version_and_tells_dagster(two_versions, configured, sql):
    with dg.DagsterInstance.from_config(configured["DAGSTER_HOME"]) as instance:
        for version in two_versions:
            tags = {"dagster/data_version": version, "dagster/code_version": f"made with {version[:3]}"}
            loaded = dg.AssetMaterialization("substations", metadata={"preview": "map"}, tags=tags)
            instance.report_runless_asset_event(loaded)
        result = run("rollback", "substations")
        assert result.exit_code == 0, result.stderr
        assert f"version {two_versions[0][:12]} of release v1 is live now" in result.stdout
        assert sql("SELECT substation_id FROM substations") == [("A1",)]
        told = instance.get_latest_materialization_event(dg.AssetKey("substations")).asset_materialization
    assert told.tags["dagster/data_version"] == two_versions[0]
    assert told.tags["dagster/code_version"] == f"made with {two_versions[0][:3]}"
    assert (told.metadata["outcome"].value, told.metadata["preview"].value) == ("rolled back", "map")
    ((published_at,),) = sql("SELECT published_at FROM postgres_sync.layer_versions WHERE current")
    assert told.metadata["published_at"].value == published_at.timestamp()


@pytest.fixture
def with_quarantine(configured, target, tmp_path) -> str:
    """Substations of which two records were refused; the id of the version."""
    folder = ReleaseFolder(tmp_path / "release")
    write_one_row(folder.folder, SUBSTATIONS)
    header, row, *_ = unzipped((folder.folder / SUBSTATIONS.file_name).read_bytes()).splitlines()
    key = row.split(",")[SUBSTATIONS.column_names.index(SUBSTATIONS.key[0])]
    bad = [row.replace(key, new, 1).replace("0101000020", wrong) for new, wrong in (("B2", "zz"), ("C3", "yy"))]
    folder.write(SUBSTATIONS, "\n".join([header, row, *bad]) + "\n")
    options = LoadOptions(run_id="run-1", quarantine=2)
    return load_layer(SUBSTATIONS, folder.release, target, options, lambda _: None).version


def test_replay_publishes_corrected_records_and_tells_dagster(with_quarantine, configured, sql, tmp_path):
    assert "2 records of its file in quarantine" in run("status").stdout
    nothing = run("replay", "substations")
    assert (nothing.exit_code, "published 0 of 2 records" in nothing.stdout) == (1, True)
    assert "still refused: substations.csv.gz, line 3, column" in nothing.stdout
    path = tmp_path / "wrong.csv"
    assert run("replay", "substations", "--out", str(path)).exit_code == 0
    path.write_text(path.read_text().replace("zz", "0101000020"))
    with dg.DagsterInstance.from_config(configured["DAGSTER_HOME"]) as instance:
        tags = {"dagster/data_version": with_quarantine, "dagster/code_version": "made with it"}
        instance.report_runless_asset_event(dg.AssetMaterialization("substations", tags=tags))
        result = run("replay", "substations", "--from", str(path))
        assert result.exit_code == 0, result.stderr
        told = instance.get_latest_materialization_event(dg.AssetKey("substations")).asset_materialization
    assert "published 1 of 2 records from quarantine" in result.stdout
    ((version,),) = sql("SELECT version FROM postgres_sync.layer_versions WHERE current")
    assert told.tags == told.tags | {"dagster/data_version": version, "dagster/code_version": "made with it"}
    shown = [told.metadata[name].value for name in ("outcome", "rows_quarantined", "dagster/row_count")]
    assert shown == ["replayed", 1, 2]


def test_replay_with_nothing_in_quarantine(two_versions):
    result = run("replay", "substations")
    assert (result.exit_code, result.stdout.count("nothing to replay")) == (0, 1)
    assert run("replay", "transformers").exit_code == 1
    assert run("replay", "substations", "--out", "a", "--from", "b").exit_code == 2


def test_what_is_computed_from_a_layer_follows_its_rollback(configured, target, sql, tmp_path):
    folder, versions = ReleaseFolder(tmp_path / "lines"), []
    for replaced in (b",50,", b",51,"):
        path = write_one_row(folder.folder, LINES)
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b",50,", replaced), mtime=0))
        load_layer(LINES, folder.release, target, LoadOptions(), lambda _: None)
        versions.append(load_layer(SPATIAL_LINES, None, target, LoadOptions(), lambda _: None).version)
    told = run("rollback", "grid_power_lines")
    assert told.exit_code == 0, told.stderr
    followed = f"power_lines_spatial: version {versions[0][:12]}, which was computed from this, is live again."
    assert followed in told.stdout
    current = "SELECT version FROM postgres_sync.layer_versions WHERE current AND layer_name = 'power_lines_spatial'"
    assert sql(current) == [(versions[0],)]
    with dg.DagsterInstance.from_config(configured["DAGSTER_HOME"]) as instance:
        seen = instance.get_latest_materialization_event(dg.AssetKey("power_lines_spatial")).asset_materialization
    assert (seen.tags["dagster/data_version"], seen.metadata["outcome"].value) == (versions[0], "followed")
    assert run("pin", "power_lines_spatial").exit_code == 0
    again = run("rollback", "grid_power_lines", "--to", versions_of(sql, "grid_power_lines")[-1])
    assert "Warning: power_lines_spatial does not follow: public.power_lines_spatial is pinned to" in again.stderr
    assert "`flux-assets load power_lines_spatial`" in again.stderr


def versions_of(sql, name: str) -> list[str]:
    asked = "SELECT version FROM postgres_sync.layer_versions WHERE layer_name = '{}' ORDER BY staged_at"
    return [version for (version,) in sql(asked.format(name))]


def test_after_a_rollback_the_checks_say_what_the_version_was_judged_for(two_versions, configured):
    assert run("rollback", "substations").exit_code == 0
    key = dg.AssetCheckKey(dg.AssetKey("substations"), "unique")
    with dg.DagsterInstance.from_config(configured["DAGSTER_HOME"]) as instance:
        record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        counted = asyncio.run(record.targets_latest_materialization(LoadingContextForTest(instance)))
    assert (record.evaluation.passed, counted) == (True, True)
    assert record.evaluation.description.startswith("Before it was first published:")


def test_rollback_to_a_named_version_and_back(two_versions, sql):
    assert run("rollback", "substations", "--to", two_versions[0][:6]).exit_code == 0
    assert run("rollback", "substations", "--to", two_versions[1]).exit_code == 0
    assert sql("SELECT substation_id FROM substations") == [("B2",)]
    refused = run("rollback", "substations", "--to", "nothing")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert two_versions[0][:12] in refused.stderr


def test_a_rollback_of_which_dagster_cannot_be_told_is_a_warning(two_versions, monkeypatch, tmp_path):
    (tmp_path / "dagster" / "dagster.yaml").write_text("no_such_setting: 1\n")
    result = run("rollback", "substations")
    assert result.exit_code == 0
    assert "Dagster was not informed" in result.stderr


def test_an_unreachable_database_is_two_lines(monkeypatch):
    monkeypatch.setenv("FLUX_POSTGRES_URL", "postgresql://me:pass-word@127.0.0.1:1/maps")
    for command in ("status", "versions"):
        result = run(command)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: The target database cannot be reached")
        assert "flux-assets doctor" in result.stderr
        assert "pass-word" not in result.stderr


def test_an_illegal_setting_is_two_lines(monkeypatch):
    monkeypatch.setenv("FLUX_KEEP_VERSIONS", "many")
    result = run("status")
    assert result.exit_code == 1
    assert "FLUX_KEEP_VERSIONS = 'many'" in result.stderr


def test_a_refusal_by_the_database_is_a_sentence(two_versions, admin_sql):
    admin_sql("REVOKE ALL ON postgres_sync.layer_versions FROM flux")
    result = run("versions")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The database refused: permission denied for table layer_versions")


def test_errors_are_red_on_a_terminal_and_nowhere_else(configured):
    printed = on_a_terminal(configured, 80, "rollback", "roads")
    assert "\x1b[31mError: There is no layer 'roads'." in printed
    assert "\x1b[" not in shell(configured, "rollback", "roads").stderr


def test_identifiers_stay_whole_on_a_narrow_terminal(two_versions, configured):
    printed = on_a_terminal(configured, 40, "versions")
    assert all(version[:12] in printed for version in two_versions)
    assert "run-1" in printed
    assert "topology_connections_cache" in on_a_terminal(configured, 40, "status")


def on_a_terminal(environment: dict[str, str], width: int, *arguments: str) -> str:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    environment = {name: value for name, value in environment.items() if name not in {"COLUMNS", "NO_COLOR"}}
    with subprocess.Popen(
        [PROGRAM, *arguments], env=environment | {"TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs
    ):
        os.close(theirs)
        printed = b""
        while chunk := _read(ours):
            printed += chunk
    os.close(ours)
    return printed.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that the other side is closed
        return b""


def test_sample(tmp_path):
    result = run("sample", "--scale", "0.002", "--seed", "3", "--out", str(tmp_path / "city"))
    assert result.exit_code == 0, result.output
    assert f"Wrote {len(city_tables())} files" in result.stdout
    names = {table.file_name for table in city_tables()} | {"manifest.json"}
    assert {path.name for path in (tmp_path / "city").iterdir()} == names


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "1e9"])
def test_a_sample_of_no_sensible_size(scale, tmp_path):
    result = run("sample", f"--scale={scale}", "--out", str(tmp_path / "city"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert not (tmp_path / "city").exists()


def test_ctrl_c_is_quiet(tmp_path):
    command = [PROGRAM, "sample", "--scale", "1", "--out", str(tmp_path / "city")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + PATIENCE
        while not list(tmp_path.glob("city/*")):
            assert time.monotonic() < until
            time.sleep(0.05)
        printed, complaint = _after_ctrl_c(process)
    assert (process.returncode, printed, complaint) == (130, "", "")
    assert list(tmp_path.glob("city/*")) == []


def _after_ctrl_c(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed; as a user does, the keys are pressed again when one was lost in a library's callback."""
    for _ in range(int(PATIENCE)):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=5)
    raise AssertionError("it goes on for all that is pressed")


def test_doctor(two_versions, configured, monkeypatch, tmp_path, sql):
    monkeypatch.setenv("FLUX_RELEASE", str(tmp_path / "release"))
    for table in static_tables():
        write_one_row(tmp_path / "release", table)
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Settings\n  ok       every value is legal")
    sql("CREATE TABLE transformers (id text)")
    result = run("doctor", "--json")
    assert result.exit_code == 1
    printed = json.loads(result.stdout)
    assert printed["ok"] is False
    assert ["transformers" in finding["said"] for finding in printed["findings"] if finding["outcome"] == "failed"] == [
        True
    ]


def test_the_list_of_commands_cuts_no_sentence() -> None:
    assert "..." not in CliRunner().invoke(main, ["--help"]).output.partition("Commands:")[2]
