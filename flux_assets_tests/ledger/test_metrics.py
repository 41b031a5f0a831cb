"""What Prometheus is told: real scrapes after a real load and sync, against the ledger; and who relies on the names."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from urllib.request import urlopen

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import make_conninfo

from flux_assets.ledger.metrics import Exporter
from flux_assets.ledger.status import TableStatus
from flux_assets.postgis.session import Target
from flux_assets.settings import REPOSITORY
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.round_trips import counting
from scripts.write_metrics import PAGE, with_metrics

PATIENCE = 60
PROGRAM = str(Path(sys.executable).with_name("flux-assets"))
DASHBOARD = REPOSITORY / "deploy" / "grafana" / "flux_assets.json"
RULES = REPOSITORY / "deploy" / "prometheus" / "rules.yaml"
Samples = dict[tuple[str, ...], float]


def parsed(text: str) -> Samples:
    """By name, table, kind, and the value of another label."""
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    samples = [sample for family in families for sample in family.samples]
    first = {"table": 0, "kind": 1}
    return {
        (
            each.name,
            *(each.labels[name] for name in sorted(each.labels, key=lambda name: first.get(name, 2))),
        ): each.value
        for each in samples
    }


def scraped(target: Target, log: list[str] | None = None) -> Samples:
    return parsed(Exporter(find=lambda: target, log=print if log is None else log.append).text())


@pytest.fixture
def filled(utility, target, tmp_path) -> Target:
    """A layer in its second version and pinned, another that has failed, two synced tables."""
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    loader.load(made_up(), rows(3))
    loader.load(made_up(), rows(5), keep_versions=1)
    with pytest.raises(Exception, match=r"trees\.csv\.gz"):
        loader.load(made_up("trees"), "no,header\n")
    utility.tell("INSERT INTO FAULTS VALUES ('F1', 'A', 'OPEN', '2024-01-01', 5, 10.0, 50.0)")
    utility.synced()
    return target


@pytest.fixture
def served(filled, cluster, database) -> Iterator[str]:
    """The address of a real exporter, a process of its own, as a service manager starts and ends it."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    within = os.environ | {"FLUX_POSTGRES_URL": cluster.tcp_url(database)}
    command = [PROGRAM, "metrics", "--port", str(port)]
    with subprocess.Popen(command, env=within, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert f"http://127.0.0.1:{port}/metrics" in process.stderr.readline()
            yield f"http://127.0.0.1:{port}/metrics"
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=PATIENCE)[1] == ""
            assert process.returncode == 130
        finally:
            process.kill()


def test_a_scrape_after_a_load_and_a_sync_has_the_figures_of_the_ledger(served, sql):
    with urlopen(served, timeout=PATIENCE) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        found = parsed(answer.read().decode())
    assert found["flux_up",] == 1
    ledger = (
        "SELECT rows_synced, rows_changed, duration_seconds, step_seconds, lock_seconds FROM postgres_sync.sync_status"
    )
    newest = f"{ledger} WHERE layer_name = %s AND status = 'SUCCESS' ORDER BY sync_id DESC LIMIT 1"
    for table, kind in (("poles", "static"), ("faults", "dynamic")):
        [(count, changed, duration, steps, _)] = sql(newest, table)
        assert found["flux_table_rows", table, kind] == count
        assert found["flux_run_rows_changed", table, kind] == changed > 0
        assert found["flux_run_duration_seconds", table, kind] == pytest.approx(float(duration))
        of_steps = {key[-1]: value for key, value in found.items() if key[:2] == ("flux_step_seconds", table)}
        assert of_steps == pytest.approx(steps)
        assert of_steps.keys() >= (
            {"stage", "index", "audit", "publish"} if kind == "static" else {"gate", "read", "write"}
        )
        assert found["flux_table_trusted", table, kind] == found["flux_table_state", table, kind, "live"] == 1
        assert found["flux_table_last_attempt", table, kind, "succeeded"] == 1
        assert 0 <= found["flux_table_age_seconds", table, kind, "checked_at"] < PATIENCE
    register = (
        "SELECT current, bytes FROM postgres_sync.layer_versions WHERE layer_name = 'poles' AND state = 'published'"
    )
    sizes = dict(sql(register))
    assert (found["flux_table_bytes", "poles", "static"], found["flux_kept_bytes", "poles", "static"]) == (
        sizes[True],
        sizes[False],
    )
    assert found["flux_kept_versions", "poles", "static"] == 1
    [(*_, locked)] = sql(newest, "poles")
    assert found["flux_publish_lock_seconds", "poles", "static"] == locked > 0
    assert found["flux_table_bytes", "faults", "dynamic"] > 0
    assert 0 <= found["flux_sync_lag_seconds", "faults", "dynamic"] < PATIENCE
    assert found["flux_table_last_attempt", "trees", "static", "failed"] == 1
    assert found["flux_table_failures_last_hour", "trees", "static"] == 1
    assert ("flux_table_trusted", "trees", "static") not in found, "there is nothing to trust yet"


def test_the_deployments_name_is_a_label_of_all(filled):
    text = Exporter(find=lambda: filled, log=print, utility="houston").text()
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    assert len(samples) > 50
    assert {each.labels.get("utility") for each in samples} == {"houston"}


def test_what_is_wrong_with_a_table_shows(filled, sql):
    pinned = "INSERT INTO postgres_sync.layer_pins (schema_name, layer_name, version) VALUES ('public', 'poles', 'x')"
    sql(pinned)
    sql("DROP TABLE faults CASCADE")
    found = scraped(filled)
    assert (found["flux_table_pinned", "poles", "static"], found["flux_table_pinned", "faults", "dynamic"]) == (1, 0)
    assert (
        found["flux_table_trusted", "faults", "dynamic"],
        found["flux_table_state", "faults", "dynamic", "broken"],
    ) == (0, 1)
    others = [
        found["flux_table_others_wrote", name, kind] for name, kind in (("poles", "static"), ("faults", "dynamic"))
    ]
    assert others == [0, 1]


@pytest.mark.bare
def test_before_the_first_load_there_are_no_tables(target):
    assert set(scraped(target)) == {("flux_up",), ("flux_build_info", version("flux_assets"))}


def test_a_reader_may_ask_all_of_it(filled):
    reader = replace(filled, conninfo=make_conninfo(filled.conninfo, options="-c role=flux_reader"))
    assert {key[0] for key in scraped(reader)} == {key[0] for key in scraped(filled)}


def test_it_is_one_round_trip_and_none_for_a_while(filled):
    with counting(filled) as (counted, trips):
        exporter = Exporter(find=lambda: counted, log=print)
        first, second = exporter.text(), exporter.text()
    assert len(trips) == 1, "\n".join(trips)
    assert first == second


def test_it_reads_no_more_where_the_ledger_is_long(filled, sql):
    sql(
        "INSERT INTO postgres_sync.sync_status (layer_name, sync_type, status, started_at, completed_at)"
        " SELECT name, 'UNCHANGED', 'SUCCESS', now() - n * interval '5 min', now() FROM generate_series(1, 6000) AS n,"
        " unnest(ARRAY['poles', 'faults']) AS name"
    )
    sql("ANALYZE postgres_sync.sync_status")
    plan = sql("EXPLAIN (ANALYZE, FORMAT JSON) SELECT to_jsonb(v) FROM postgres_sync.v_table_status AS v")
    looked_at = [
        int(count) for count in re.findall(r'"(?:Actual Rows|Rows Removed by Filter)": (\d+)', json.dumps(plan))
    ]
    assert max(looked_at) < 1500


def test_a_database_that_is_away_is_a_scrape_all_the_same(filled, database, cluster):
    log: list[str] = []
    exporter = Exporter(find=lambda: filled, log=log.append, seconds=0)
    with cluster.admin_session() as admin:
        admin.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        away = [parsed(exporter.text()) for _ in range(2)]
        admin.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
    assert [set(found) for found in away] == [{("flux_up",), ("flux_build_info", version("flux_assets"))}] * 2
    assert away[0]["flux_up",] == 0
    assert parsed(exporter.text())["flux_up",] == 1
    assert len(log) == 2, "each change is told once"
    assert "not currently accepting connections" in log[0]


def test_nobody_is_waited_for_who_has_the_ledger_locked(filled, sql):
    sql("BEGIN")
    sql("LOCK TABLE postgres_sync.layer_pins")
    log: list[str] = []
    assert scraped(filled, log)["flux_up",] == 0


def once(environment: dict[str, str], *options: str) -> subprocess.CompletedProcess:
    command = [PROGRAM, "metrics", "--once", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_no_embedded_database_is_made_and_no_dagster_imported(new_home):
    script = "import sys; from flux_assets.cli.main import main; main(['metrics', '--once'], standalone_mode=False)"
    script += "; print('#', [name for name in ('dagster', 'pyarrow', 'snowflake.connector') if name in sys.modules])"
    within = os.environ | {"FLUX_HOME": str(new_home)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=within, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert "flux_up 0.0\n" in done.stdout, done.stderr
    assert done.stdout.endswith("# []\n")
    assert "flux-assets up" in done.stderr
    assert list(new_home.iterdir()) == []


def test_what_is_no_setting_ends_it_and_nothing_secret_is_shown(cluster, database):
    within = os.environ | {"FLUX_POSTGRES_URL": cluster.tcp_url(database)}
    wrong = re.sub(r":[^:@/]+@", ":s3cr3t@", within["FLUX_POSTGRES_URL"])
    refused = once(within | {"FLUX_POSTGRES_URL": wrong})
    assert (refused.returncode, "flux_up 0.0" in refused.stdout) == (0, True)
    assert "s3cr3t" not in refused.stdout + refused.stderr
    unset = once(os.environ | {"FLUX_PROFILE": "production"})
    assert (unset.returncode, unset.stdout) == (1, "")
    assert "FLUX_POSTGRES_URL is not set" in unset.stderr


def test_a_port_that_is_taken_is_named(cluster, database):
    within = os.environ | {"FLUX_POSTGRES_URL": cluster.tcp_url(database)}
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [PROGRAM, "metrics", "--port", port]
        done = subprocess.run(command, env=within, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert f"Port {port} of 127.0.0.1" in done.stderr


def test_every_metric_is_named_after_its_column(sql):
    there = "SELECT column_name FROM information_schema.columns WHERE table_name = 'v_table_status'"
    columns = {name for (name,) in sql(there)} | {"ages"}
    assert {metric.column for metric in Exporter.METRICS} <= columns
    for metric in Exporter.METRICS:
        stem = metric.column.removesuffix("_at").replace("ages", "age_seconds")
        assert re.fullmatch(rf"flux_(table_|sync_|run_|publish_)?{stem}", metric.name)
        assert not metric.name.endswith("_total"), "what the ledger has is pruned, so no figure only grows"


def test_a_status_has_the_columns_of_the_view_by_their_names(filled, sql):
    there = {
        name
        for (name,) in sql("SELECT column_name FROM information_schema.columns WHERE table_name = 'v_table_status'")
    }
    ages = {f"{clock}_age_seconds" for clock in ("source", "checked", "published", "last_attempt")}
    assert set(TableStatus.__dataclass_fields__) - ages - {"table"} <= there


# Promises of the files in deploy/.


def queries() -> dict[str, str]:
    """By where they stand, all queries of the dashboard and of the rules, variables filled in."""
    board, rules = json.loads(DASHBOARD.read_text()), yaml.safe_load(RULES.read_text())
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel["targets"]
    }
    found |= {each["name"]: each["expr"] for each in board["annotations"]["list"]}
    found |= {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    return {where: re.sub(r"\$(\w+)", ".*", text) for where, text in found.items()}


@pytest.mark.parametrize("where", queries())
def test_a_query_is_promql(where):
    promql_parser.parse(queries()[where])


def test_every_metric_and_label_that_is_asked_for_is_in_a_scrape(filled):
    families = text_string_to_metric_families(Exporter(find=lambda: filled, log=print).text())
    labels: dict[str, set[str]] = {}
    for sample in (sample for family in families for sample in family.samples):
        labels.setdefault(sample.name, {"instance", "job"}).update(sample.labels)
    for where, query in queries().items():
        asked = re.findall(r"(flux_\w+)(?:\{([^}]*)\})?", query)
        assert asked, where
        for name, selectors in asked:
            assert set(re.findall(r"(\w+)\s*[=!]", selectors)) <= labels[name], where
    variables = [
        each["query"]["query"]
        for each in json.loads(DASHBOARD.read_text())["templating"]["list"]
        if "datasource" in each
    ]
    for name, label in re.findall(r"label_values\((\w+), (\w+)\)", " ".join(variables)):
        assert label in labels[name]
    assert labels.keys() - {"flux_build_info"} <= {
        name for query in queries().values() for name in re.findall(r"flux_\w+", query)
    }


def test_rules_say_what_they_are_about():
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
            assert rule["labels"]["severity"] in {"critical", "warning", "info"}
            assert rule["annotations"].keys() == {"summary", "description"}
            assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))


def test_the_dashboard_names_its_data_source_by_a_variable_alone():
    board = json.loads(DASHBOARD.read_text())
    assert set(re.findall(r'"uid": "([^"]+)"', json.dumps(board["panels"]))) == {"${datasource}"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_the_page_has_every_metric():
    """After a change of the metrics: .venv/bin/python scripts/write_metrics.py."""
    assert PAGE.read_text() == with_metrics(PAGE.read_text())
