"""deploy/: what Dagster, its Kubernetes launcher and we make of it. `make check` has the files' own linters."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster_k8s.executor import k8s_job_executor
from dagster_k8s.launcher import K8sRunLauncher
from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict
from dagster_postgres.utils import pg_url_from_config
from kubernetes import client as kubernetes
from sqlalchemy import make_url

from flux_assets.cli.main import main
from flux_assets.settings import REPOSITORY, Settings

DEPLOY = REPOSITORY / "deploy"
VALUES = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())
# Beside them, with what it asks for.
WITH_WORKER = yaml.safe_load((DEPLOY / "helm" / "values-sync-worker.yaml").read_text())
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "helm" / "sync-worker.yaml").read_text()))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
OURS = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
SETTINGS = {name.upper() for name in Settings.model_fields} | {"FLUX_ENV_FILE", "FLUX_CODE_HOST", "DAGSTER_HOME"}
LAUNCHER = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
CUSTOM = WITH_WORKER["runLauncher"]["config"]["customRunLauncher"]
# The keys that the chart of Dagster 1.13 reads: one that is misspelt is refused or, worse, ignored.
POD = (
    "annotations env envConfigMaps envSecrets image nodeSelector affinity tolerations podSecurityContext"
    " securityContext resources livenessProbe readinessProbe startupProbe labels volumeMounts volumes schedulerName"
)
SERVICE = f"{POD} deploymentLabels initContainerResources"
KEYS = {
    "": "nameOverride fullnameOverride rbacEnabled imagePullSecrets dagsterWebserver dagster-user-deployments"
    " postgresql generatePostgresqlPasswordSecret generateCeleryConfigSecret rabbitmq redis flower ingress"
    " computeLogManager scheduler runLauncher pythonLogs dagsterDaemon busybox migrate telemetry serviceAccount global"
    " retention concurrency additionalInstanceConfig",
    "global": "postgresqlSecretName dagsterHome serviceAccountName celeryConfigSecretName dagsterInstanceConfigMap",
    "postgresql": "image enabled postgresqlHost postgresqlUsername postgresqlPassword postgresqlDatabase"
    " postgresqlParams postgresqlScheme service",
    "dagsterWebserver": f"{SERVICE} replicaCount nameOverride pathPrefix service workspace enableReadOnly"
    " dbStatementTimeout dbPoolRecycle logLevel",
    "dagsterDaemon": f"{SERVICE} enabled runCoordinator heartbeatTolerance runMonitoring runRetries sensors schedules",
    "dagster-user-deployments": "enabled enableSubchart imagePullSecrets deployments",
    "dagster-user-deployments.deployments.0": f"{POD} name port dagsterApiGrpcArgs codeServerArgs"
    " includeConfigInLaunchedRuns initContainers sidecarContainers",
    "runLauncher.config.k8sRunLauncher": "image imagePullPolicy jobNamespace loadInclusterConfig kubeconfigFile"
    " envConfigMaps envSecrets envVars volumeMounts volumes labels failPodOnRunFailure resources schedulerName"
    " securityContext runK8sConfig",
}  # fmt: skip


def at(path: str) -> Any:
    found = VALUES
    for part in filter(None, path.split(".")):
        found = found[int(part)] if isinstance(found, list) else found[part]
    return found


def launcher_config() -> dict[str, Any]:
    """What the chart makes of its values for the launcher."""
    renamed = {
        "imagePullPolicy": "image_pull_policy", "loadInclusterConfig": "load_incluster_config", "envVars": "env_vars",
        "volumeMounts": "volume_mounts", "volumes": "volumes", "failPodOnRunFailure": "fail_pod_on_run_failure",
        "resources": "resources", "securityContext": "security_context",
    }  # fmt: skip
    run = {re.sub("([A-Z])", r"_\1", key).lower(): value for key, value in LAUNCHER["runK8sConfig"].items()}
    return {new: LAUNCHER[old] for old, new in renamed.items()} | {
        "service_account_name": "flux", "dagster_home": VALUES["global"]["dagsterHome"],
        "instance_config_map": "flux-instance", "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
        "env_secrets": [source["name"] for source in LAUNCHER["envSecrets"]], "run_k8s_config": run,
    }  # fmt: skip


def storage_config() -> dict[str, Any]:
    given = VALUES["postgresql"]
    return {
        "postgres_db": {
            "username": given["postgresqlUsername"], "password": {"env": "DAGSTER_PG_PASSWORD"},
            "hostname": given["postgresqlHost"], "db_name": given["postgresqlDatabase"],
            "port": given["service"]["port"], "params": given["postgresqlParams"], "scheme": given["postgresqlScheme"],
        }
    }  # fmt: skip


@pytest.mark.parametrize("path", KEYS)
def test_the_chart_knows_every_value(path):
    assert set(at(path)) - set(KEYS[path].split()) == set()


def test_the_instance_that_the_chart_writes_is_one():
    """As its template configmap-instance.yaml puts it together."""
    storage = {
        f"{name}_storage": {"module": f"dagster_postgres.{module}", "class": f"Postgres{kind}", "config": config}
        for name, module, kind in (
            ("run", "run_storage", "RunStorage"),
            ("event_log", "event_log", "EventLogStorage"),
            ("schedule", "schedule_storage", "ScheduleStorage"),
        )
        for config in [storage_config()]
    }
    purged = {
        kind: {"purge_after_days": VALUES["retention"][kind]["purgeAfterDays"]} for kind in ("schedule", "sensor")
    }
    written = {
        "scheduler": {"module": "dagster.core.scheduler", "class": "DagsterDaemonScheduler"},
        "run_launcher": {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": launcher_config()},
        "compute_logs": {
            "module": "dagster.core.storage.noop_compute_log_manager",
            "class": VALUES["computeLogManager"]["type"],
        },
        "python_logs": {"python_log_level": VALUES["pythonLogs"]["pythonLogLevel"]},
        "telemetry": VALUES["telemetry"],
        **{
            kind: {"use_threads": given["useThreads"], "num_workers": given["numWorkers"]}
            for kind in ("sensors", "schedules")
            for given in [VALUES["dagsterDaemon"][kind]]
        },
        "retention": purged,
        **storage,
    }
    more = VALUES["additionalInstanceConfig"]
    assert set(written) & set(more) == set(), "twice in one file"
    checked = process_config(dagster_instance_config_schema(), written | more)
    assert checked.success, checked.errors
    changed = {"start_timeout_seconds": 300}
    same = {name: more[name] for name in set(more) - {"run_monitoring"}}
    assert same == {name: OURS[name] for name in same}
    assert more["run_monitoring"] == OURS["run_monitoring"] | changed
    for name in ("retention", "telemetry", "python_logs", "sensors", "schedules"):
        assert written[name] == OURS[name]


def test_the_launcher_takes_its_configuration():
    checked = process_config(K8sRunLauncher.config_type(), launcher_config())
    assert checked.success, checked.errors
    run = launcher_config()["run_k8s_config"]
    # Raises for a name that Kubernetes does not know.
    assert k8s_snake_case_dict(kubernetes.V1PodSpec, run["pod_spec_config"])
    assert k8s_snake_case_dict(kubernetes.V1JobSpec, run["job_spec_config"])


def test_a_launcher_with_a_worker_is_configured_as_the_chart_does_without(monkeypatch):
    """As its template _run-launcher.tpl puts it together; variables of the chart's config maps are in every pod."""
    named = {
        "dagster_home": "DAGSTER_HOME", "instance_config_map": "DAGSTER_K8S_INSTANCE_CONFIG_MAP",
        "postgres_password_secret": "DAGSTER_K8S_PG_PASSWORD_SECRET",
        "env_config_maps": "DAGSTER_K8S_PIPELINE_RUN_ENV_CONFIGMAP",
    }  # fmt: skip
    own = {"service_account_name": "flux-dagster", "job_namespace": "flux"}
    own |= {key: {"env": name} for key, name in named.items()}
    own["env_config_maps"] = [own["env_config_maps"]]
    assert CUSTOM["config"] == launcher_config() | own
    assert (set(WITH_WORKER), WITH_WORKER["runLauncher"]["type"]) == ({"runLauncher"}, "CustomRunLauncher")
    for name in named.values():
        monkeypatch.setenv(name, "given")
    launcher = getattr(importlib.import_module(CUSTOM["module"]), CUSTOM["class"])
    assert issubclass(launcher, K8sRunLauncher)
    checked = process_config(launcher.config_type(), CUSTOM["config"])
    assert checked.success, checked.errors
    written = {name: CUSTOM[name] for name in ("module", "class", "config")}
    assert process_config(dagster_instance_config_schema(), {"run_launcher": written}).success


KINDS = {
    "Deployment": kubernetes.V1Deployment, "Service": kubernetes.V1Service,
    "NetworkPolicy": kubernetes.V1NetworkPolicy,
}  # fmt: skip


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_kubernetes_knows_the_worker_and_its_redis(manifest):
    model = KINDS[manifest["kind"]]
    assert k8s_model_from_dict(model, k8s_snake_case_dict(model, manifest))


def test_the_worker_has_what_runs_have():
    pod = MANIFESTS[0]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    image = VALUES["dagsterWebserver"]["image"]
    assert container["image"] == f"{image['repository']}:{image['tag']}"
    assert [source["secretRef"] for source in container["envFrom"]] == LAUNCHER["envSecrets"]
    plain = {f"{each['name']}={each['value']}" for each in container["env"] if "value" in each}
    assert plain == set(LAUNCHER["envVars"])
    assert container["securityContext"] == LAUNCHER["securityContext"]
    assert pod["securityContext"] == LAUNCHER["runK8sConfig"]["podSpecConfig"]["securityContext"]
    *mounts, instance = container["volumeMounts"]
    assert mounts == LAUNCHER["volumeMounts"]
    assert instance["mountPath"] == f"{VALUES['global']['dagsterHome']}/dagster.yaml"


def test_the_executor_of_steps_takes_what_the_launcher_hands_on():
    handed = ("env_secrets", "env_vars", "volume_mounts", "volumes", "resources", "security_context")
    given = {name: launcher_config()[name] for name in handed}
    checked = process_config(k8s_job_executor.config_schema.config_type, given)
    assert checked.success, checked.errors


def test_the_storage_is_reached_by_the_driver_that_dagster_knows():
    given = storage_config()
    given["postgres_db"]["password"] = "secret"
    url = make_url(pg_url_from_config(given))
    assert (url.get_driver_name(), url.query["sslmode"]) == ("psycopg2", "verify-full")
    url.get_dialect()().create_connect_args(url)


MODELS = {
    "resources": kubernetes.V1ResourceRequirements, "podSecurityContext": kubernetes.V1PodSecurityContext,
    "securityContext": kubernetes.V1SecurityContext, "livenessProbe": kubernetes.V1Probe,
    "readinessProbe": kubernetes.V1Probe, "startupProbe": kubernetes.V1Probe, "volumes": kubernetes.V1Volume,
    "volumeMounts": kubernetes.V1VolumeMount, "envSecrets": kubernetes.V1SecretEnvSource,
}  # fmt: skip


@pytest.mark.parametrize("part", [path for path in KEYS if path not in {"", "global", "postgresql"}])
def test_kubernetes_knows_what_is_given(part):
    for key, model in MODELS.items():
        found = at(part).get(key, [])
        for each in found if isinstance(found, list) else [found]:
            plain = {name: value for name, value in each.items() if name != "enabled"}
            assert k8s_model_from_dict(model, k8s_snake_case_dict(model, plain))


def commands() -> list[list[str]]:
    """Every command line of deploy/."""
    lines = [line for unit in UNITS for line in re.findall(r"^ExecStart\w*=(.*)$", unit.read_text(), re.MULTILINE)]
    found = [shlex.split(line.replace("/opt/flux/current/.venv/bin/", "")) for line in lines]
    for service in COMPOSE["services"].values():
        if "build" in service:
            found += [service.get("command"), (service.get("healthcheck") or {}).get("test", [])[1:]]
    for part in (at("dagsterWebserver"), at("dagsterDaemon"), at("dagster-user-deployments.deployments.0")):
        found += [part[name].get("exec", {}).get("command") for name in part if name.endswith("Probe")]
    found += [MANIFESTS[0]["spec"]["template"]["spec"]["containers"][0]["command"][2:]]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    found += [json.loads(line) for line in re.findall(r"CMD (\[.*\])$", dockerfile, re.MULTILINE)]
    return [line for line in found if line]


@pytest.mark.parametrize("line", commands(), ids=" ".join)
def test_every_command_is_installed(line):
    assert line[0] == "/bin/sh" or Path(sys.executable).with_name(line[0]).exists()
    assert set(re.findall(r"flux-assets ([a-z]+)", " ".join(line))) <= set(main.commands)


FILES = ["compose.yaml", ".env.example", "flux.env.example", "Dockerfile", "workspace.yaml", "helm/values.yaml"]
FILES += ["helm/values-sync-worker.yaml", "helm/sync-worker.yaml"]


@pytest.mark.parametrize("file", [*(DEPLOY / name for name in FILES), *UNITS], ids=lambda path: path.name)
def test_every_setting_is_one(file):
    """Or one of the compose file's own."""
    named = re.findall(r"(?<![\w=])((?:FLUX|SNOWFLAKE)_[A-Z_]*[A-Z]|DAGSTER_(?:HOME|POSTGRES_URL))\b", file.read_text())
    of_compose = {"FLUX_IMAGE", "FLUX_EXTRAS", "FLUX_MEMORY", "FLUX_SECRETS", "FLUX_PASSWORD"}
    assert set(named) <= SETTINGS | of_compose


def test_the_image_gets_every_file_that_it_copies():
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    files = {name for line in copied for name in line.split()}
    admitted = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert files == admitted
    assert [name for name in files if not (REPOSITORY / name).exists()] == []


def test_the_version_is_the_same_everywhere():
    ours = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    files = [*DEPLOY.rglob("*.y*ml"), DEPLOY / "Dockerfile", REPOSITORY / "docs" / "deploying.md"]
    named = [re.findall(r"flux-assets:(\d[\w.]*)|/opt/flux/(\d[\w.]*)", file.read_text()) for file in files]
    assert {"".join(found) for each in named for found in each} == {ours}
    assert f"\n## {ours} (" in (REPOSITORY / "CHANGELOG.md").read_text().partition("\n## 0.1.0")[0]
