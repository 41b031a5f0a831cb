"""Lines of JSON and spans, of real loads and syncs."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flux_assets.settings import REPOSITORY
from flux_assets.tables import substations
from flux_assets.telemetry import JsonLines, span
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.made_up import write_one_row

PATIENCE = 120
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
FAULT = "INSERT INTO FAULTS VALUES ('F1', 'A', 'OPEN', '2024-01-01', 5, 10.0, 50.0)"
PROGRAM = str(Path(sys.executable).with_name("flux-assets"))


class Collector(ThreadingHTTPServer):
    """An OTLP receiver as far as traces go: the spans that have arrived."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Traces)
        self.spans: list = []
        self.arrived = Condition()

    def wait_for(self, name: str, count: int = 1) -> dict[str, list]:
        """All spans by name, once so many of this one are among them: it is the last to end."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: [each.name for each in self.spans].count(name) >= count, PATIENCE)
            found: dict[str, list] = {}
            for each in self.spans:
                found.setdefault(each.name, []).append(each)
            self.spans.clear()
            return found


class _Traces(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        told = ExportTraceServiceRequest.FromString(raw)
        with self.server.arrived:
            for resource in told.resource_spans:
                for scope in resource.scope_spans:
                    self.server.spans += scope.spans
            self.server.arrived.notify_all()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """One for the module: a process sends its spans to where the first of them went."""
    with collecting() as server:
        yield server


@pytest.fixture
def traced(collector, monkeypatch) -> Collector:
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    return collector


def attributes(each) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in each.attributes}


def test_a_load_is_a_span_and_each_of_its_steps_one_below(traced, target, tmp_path):
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    result = loader.load(made_up(), rows(3), run_id="run-7")
    found = traced.wait_for("load")
    [whole] = found.pop("load")
    assert attributes(whole) == {"table": "poles", "kind": "static", "run_id": "run-7"}
    assert found.keys() == result.seconds.keys() >= {"resolve", "stage", "index", "audit", "publish"}
    for name, spans in found.items():
        for each in spans:
            assert attributes(each) == {**attributes(whole), "step": name}
            assert (each.parent_span_id, each.trace_id) == (whole.span_id, whole.trace_id)


def test_a_sync_has_the_steps_of_both_sides_and_of_each_table(traced, utility):
    utility.tell(FAULT)
    utility.synced()
    found = traced.wait_for("sync")
    [whole] = found.pop("sync")
    assert attributes(whole) == {"kind": "dynamic"}
    assert found.keys() >= {"connect", "gate", "read", "stage", "compare", "write", "commit"}
    assert {attributes(each)["table"] for each in found["read"]} == {"faults", "feeders"}
    assert {each.trace_id for spans in found.values() for each in spans} == {whole.trace_id}


def test_errors_are_on_the_step_and_on_the_whole(traced, target, utility, tmp_path):
    with pytest.raises(Exception, match=r"poles\.csv\.gz"):
        Loader(target, ReleaseFolder(tmp_path / "v1")).load(made_up(), "no,header\n")
    found = traced.wait_for("load")
    for each in (found["load"][0], found["stage"][0]):
        assert each.status.code == each.status.STATUS_CODE_ERROR
        assert "poles.csv.gz" in each.status.message
        assert [event.name for event in each.events] == ["exception"]
    utility.tell("DROP TABLE FAULTS")
    assert utility.failed().keys() == {"faults"}
    [whole] = traced.wait_for("sync")["sync"]
    assert whole.status.code == whole.status.STATUS_CODE_ERROR


def test_nothing_of_it_is_imported_without_an_endpoint():
    script = "import sys; from flux_assets.telemetry import span\nwith span('load'): pass\n"
    script += "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    run = [sys.executable, "-c", script]
    assert subprocess.run(run, env=plain, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_where_its_packages_are_missing_that_is_said_and_nothing_else_happens():
    script = "import sys; sys.modules['opentelemetry.sdk.trace'] = None\n"
    script += "from flux_assets.telemetry import span\nfor _ in range(2):\n  with span('load'): print('done')"
    within = os.environ | {ENDPOINT: "http://127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-c", script], env=within, capture_output=True, text=True, check=True)
    assert done.stdout == "done\ndone\n"
    assert done.stderr.count("pip install 'flux_assets[otel]'") == 1


def test_a_collector_that_is_away_keeps_no_process_from_ending():
    script = "from flux_assets.telemetry import span\nwith span('load'): print('done')"
    within = os.environ | {ENDPOINT: "http://127.0.0.1:1"}
    run = [sys.executable, "-c", script]
    assert subprocess.run(run, env=within, capture_output=True, text=True, timeout=60, check=True).stdout == "done\n"


def line_of(record: logging.LogRecord) -> dict[str, object]:
    printed = JsonLines().format(record)
    assert "\n" not in printed
    return json.loads(printed)


def test_a_line_says_what_is_under_way():
    record = logging.makeLogRecord({"name": "n", "levelname": "INFO", "msg": "a\n%s", "args": ("b",), "created": 0.5})
    with span("load", table="poles", run_id="r", kind=None), span("stage", step="stage"):
        found = line_of(record)
    assert found == {
        "time": "1970-01-01T00:00:00.500+00:00",
        "level": "INFO",
        "logger": "n",
        "message": "a\nb",
        "run_id": "r",
        "table": "poles",
        "step": "stage",
    }
    assert line_of(record).keys() == {"time", "level", "logger", "message"}


def test_the_name_of_the_deployment_is_in_each_line(monkeypatch):
    monkeypatch.setenv("FLUX_UTILITY", "houston")
    assert line_of(logging.makeLogRecord({"msg": "a"}))["utility"] == "houston"


def test_an_illegal_name_of_the_deployment_is_told_in_a_line_too():
    """It is what a line would bear."""
    command = [sys.executable, "-c", "from flux_assets.cli.main import main; main()", "status"]
    within = os.environ | {"FLUX_UTILITY": "Houston!", "FLUX_LOG_FORMAT": "json"}
    done = subprocess.run(command, env=within, capture_output=True, text=True, check=False)
    told = json.loads(done.stderr)
    assert (done.returncode, told["level"]) == (1, "ERROR")
    assert told["message"].startswith("FLUX_UTILITY = 'Houston!': is not a plain lower-case name")


@pytest.fixture
def environment(tmp_path, cluster, database) -> dict[str, str]:
    write_one_row(tmp_path / "tiny", substations.TABLE)
    given = {"FLUX_POSTGRES_URL": cluster.url(database), "FLUX_RELEASE": str(tmp_path / "tiny")}
    return os.environ | given | {"DAGSTER_POSTGRES_URL": cluster.url(database), "PYTHONWARNINGS": "ignore"}


def load(environment: dict[str, str], table: str, **given: str) -> tuple[int, str]:
    done = subprocess.run(
        [PROGRAM, "load", table], env=environment | given, cwd=REPOSITORY, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_a_run_writes_one_object_a_line_and_each_thing_once(environment, sql):
    code, printed = load(environment, "substations", FLUX_LOG_FORMAT="json")
    assert code == 0, printed
    found = [json.loads(line) for line in printed.splitlines()]
    assert all(datetime.fromisoformat(each["time"]).utcoffset().total_seconds() == 0 for each in found)
    [(run_id,)] = sql("SELECT run_id FROM postgres_sync.sync_status WHERE layer_name = 'substations'")
    [published] = [each for each in found if ": published version " in each["message"]]
    assert (published["run_id"], published["table"], published["kind"]) == (run_id, "substations", "static")
    assert {each["run_id"] for each in found if "run_id" in each} == {run_id}
    # What the UI shows is stored as it ever was.
    stored = "SELECT count(*) FROM event_logs WHERE run_id = %s AND event LIKE %s"
    assert sql(stored, run_id, "%: published version %") == [(1,)]


def test_a_failure_is_a_line_too(environment):
    code, printed = load(environment, "transformers", FLUX_LOG_FORMAT="json")
    found = [json.loads(line) for line in printed.splitlines()]
    assert code == 1
    assert any("transformers.csv.gz" in each.get("error", "") for each in found if each["level"] == "ERROR")
    code, printed = load(environment, "transformer", FLUX_LOG_FORMAT="json")
    [told] = [json.loads(line) for line in printed.splitlines()]
    assert (code, told["level"]) == (1, "ERROR")
    assert "Did you mean transformers" in told["message"]


def test_by_default_lines_are_text(environment):
    code, printed = load(environment, "substations")
    assert code == 0
    assert ": published version " in printed
    assert not [line for line in printed.splitlines() if line.startswith("{")]
