"""Settings that are refused, in plain words with name and value; those of alerts are in test_alert_settings.py."""

from __future__ import annotations

import pytest

from flux_assets.errors import SettingError
from flux_assets.settings import load_settings

KEPT = "belongs to PostgreSQL, PostGIS or flux_assets itself; use another, such as gis"
PLAIN = "is not a plain lower-case name of letters, digits and _, such as public or gis"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        *(
            ("FLUX_POSTGRES_SCHEMA", schema, KEPT)
            for schema in (
                "information_schema", "pg_catalog", "pg_toast", "pg_temp_3", "pg_mine", "topology", "tiger",
                "tiger_data", "flux_versions", "postgres_sync",
            )
        ),
        *(("FLUX_POSTGRES_SCHEMA", schema, PLAIN) for schema in ("Maps", "my maps", "1st", "x" * 64)),
        ("FLUX_KEEP_VERSIONS", "many", "must be a whole number"),
        ("FLUX_KEEP_VERSIONS", "-1", "must be 0 or more"),
        ("FLUX_PARALLEL_LAYERS", "33", "must be 32 or less"),
        ("FLUX_EXECUTOR", "dask", "must be 'threads', 'multiprocess', 'celery' or 'k8s'"),
        ("FLUX_PROFILE", "test", "must be 'embedded' or 'production'"),
        ("FLUX_PUBLISH_WAIT", "soon", "is not a time span such as 90, 10m or 2h"),
        ("SNOWFLAKE_PORT", "0", "must be 1 or more"),
    ],
)  # fmt: skip
def test_what_is_refused_is_told_plainly(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError) as refused:
        load_settings()
    assert refused.value.problem == f"{name} = {value!r}: {said}."


@pytest.mark.parametrize("name", ["FLUX_CELERY_BROKER", "FLUX_CELERY_BACKEND"])
@pytest.mark.parametrize("url", ["amqp://queue/", "localhost:6379", "db+postgresql://flux:secret@db/maps"])
def test_workers_meet_in_a_redis(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    monkeypatch.setenv(name, url)
    with pytest.raises(SettingError, match=f"{name}: is not the address of a Redis") as refused:
        load_settings()
    assert "secret" not in str(refused.value)
    for redis in (
        "redis://host:6379/0",
        "rediss://:word@host/1",
        "redis+socket:///run/redis.sock",
        "sentinel://a;sentinel://b",
    ):
        monkeypatch.setenv(name, redis)
        load_settings.cache_clear()
        load_settings()


@pytest.mark.parametrize("schema", ["public", "gis", "maps_2", "_own"])
def test_other_schemas_are_taken(monkeypatch: pytest.MonkeyPatch, schema: str) -> None:
    monkeypatch.setenv("FLUX_POSTGRES_SCHEMA", schema)
    assert load_settings().flux_postgres_schema == schema


@pytest.mark.parametrize("host", [None, "127.evil.test", "10.0.0.1"])
def test_a_source_elsewhere_is_not_asked_in_the_clear(monkeypatch: pytest.MonkeyPatch, host: str | None) -> None:
    monkeypatch.setenv("SNOWFLAKE_PROTOCOL", "http")
    if host:
        monkeypatch.setenv("SNOWFLAKE_HOST", host)
    with pytest.raises(SettingError, match="SNOWFLAKE_PROTOCOL is http, but SNOWFLAKE_HOST is not on this machine"):
        load_settings()
    monkeypatch.setenv("SNOWFLAKE_HOST", "127.0.0.1")
    assert load_settings().snowflake_protocol == "http"


@pytest.mark.parametrize("name", ["FLUX_POSTGRES_URL", "DAGSTER_POSTGRES_URL"])
@pytest.mark.parametrize(
    "password", ["p@ss", "a/b", "a?b", "a#b", "a[b", "a]b", "50%", "%zz", "@", "a@b@c", "a/b@c", "a?b=c", "x@y/z"]
)
def test_a_password_that_needs_escaping_is_recognised_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, password: str
) -> None:
    monkeypatch.setenv(name, f"postgresql://loader:{password}@db.example.com:5432/maps?sslmode=require")
    with pytest.raises(SettingError) as refused:
        load_settings()
    assert refused.value.problem.startswith(f"{name}: has a special character in its user or password;")
    assert "write @ as %40" in refused.value.problem
    assert f":{password}" not in str(refused.value)
    assert "db.example.com" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://loader:p%40ss%2F%25@db.example.com/maps",
        "postgresql://loader:a:b!$&'()*+,;=~ c@db.example.com/maps?options=-csearch_path%3Dx&application_name=a@b",
        "postgresql://loader@db.example.com/maps@home",
        "postgresql://loader@[::1]:5432/maps",
        "postgresql:///maps?host=/tmp&user=a@b",
        "postgresql://one.example.com,two.example.com/maps",
    ],
)
def test_an_address_as_libpq_takes_it_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("FLUX_POSTGRES_URL", url)
    taken = load_settings().flux_postgres_url
    assert taken is not None
    assert taken.get_secret_value() == url
