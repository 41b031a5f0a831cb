"""Secrets that other libraries' errors may hold do not get into messages, and what is no secret does."""

from __future__ import annotations

import pytest

from flux_assets.alerting.cause import secret_remover
from flux_assets.settings import load_settings

PLANTED = "s3cr3t-W0rd!"
SETTINGS = {
    "FLUX_POSTGRES_URL": "postgresql://flux:pl%40nted-one@127.0.0.1:5432/maps",
    "DAGSTER_POSTGRES_URL": "postgresql://dagster:planted-two@127.0.0.1/dagster",
    "SNOWFLAKE_PRIVATE_KEY_PATH": "/secure/place/of/keys/flux",
    "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": "planted three",
    "FLUX_ALERT_URL": "https://hooks.example.com/T1/B2/planted-four",
    "FLUX_POST_URL": "https://maps.example.com/hooks/planted-seven",
    "FLUX_CELERY_BROKER": "redis://:planted-eight@broker:6379/0",
    "PGPASSWORD": "planted.five",
    "AWS_SECRET_ACCESS_KEY": "planted/six+",
}


@pytest.fixture
def clean(monkeypatch):
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    return secret_remover(load_settings())


@pytest.mark.parametrize(
    "text",
    [
        'connection to "postgresql://flux:pl%40nted-one@127.0.0.1:5432/maps" failed',
        "the password pl@nted-one was refused",
        "user dagster with planted-two",
        "cannot read /secure/place/of/keys/flux",
        "decrypting with 'planted three' failed",
        "POST https://hooks.example.com/T1/B2/planted-four",
        "POST https://maps.example.com/hooks/planted-seven",
        "fe_sendauth: planted.five",
        "AUTH planted-eight was refused",
        "signature of planted/six+ is wrong",
    ],
)
def test_what_is_set_is_hidden_wherever_it_turns_up(clean, text):
    cleaned = clean(text)
    assert "***" in cleaned
    assert not any(secret in cleaned for secret in ("nted-one", "planted", "/secure/place"))


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://user:{PLANTED}@db/maps",
        f"snowflake://user:{PLANTED}@acme/db?role=x",
        f"host=db user=x password={PLANTED} dbname=maps",
        f"password='{PLANTED} and more' host=db",
        f'{{"password": "{PLANTED}", "user": "x"}}',
        f"PWD={PLANTED};Server=db",
        f"SNOWFLAKE_PASSWORD={PLANTED}",
        f"api_key: {PLANTED}",
        f"https://bucket/x.csv.gz?X-Amz-Signature={PLANTED}&X-Amz-Date=1",
        f"Authorization: Bearer {PLANTED.rstrip('!')}",
        f"https://hooks.slack.com/services/T1/B2/{PLANTED}",
        f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{PLANTED}\n-----END ENCRYPTED PRIVATE KEY-----",
        f"[Errno 2] No such file or directory: '/home/me/{PLANTED.rstrip('!')}/rsa_key.p8'",
        f"~/{PLANTED.rstrip('!')}.pem",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text):
    cleaned = secret_remover(load_settings(), {})(text)
    assert "***" in cleaned
    assert PLANTED.rstrip("!") not in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "work_orders: PostgreSQL refused with 23505: duplicate key value violates unique constraint.",
        "Snowflake at acme.snowflakecomputing.com:443 cannot be reached: 250001 (08001): timed out.",
        "Correct SNOWFLAKE_USER, and SNOWFLAKE_PASSWORD or SNOWFLAKE_PRIVATE_KEY_PATH.",
        "https://example.com/releases/v1/building_footprints.csv.gz: HTTP 404.",
        "building_footprints.csv.gz, line 3, column lon, value 'x': is no number.",
        'password authentication failed for user "flux"',
        "Key (circuit_id)=(C-12) already exists.",
    ],
)
def test_what_is_no_secret_is_told(text):
    assert secret_remover(load_settings(), {})(text) == text


def test_a_short_password_does_not_tear_words_apart(monkeypatch):
    """`snow` hidden in `Snowflake` would tell what the password is."""
    monkeypatch.setenv("SNOWFLAKE_PASSWORD", "flake")
    load_settings.cache_clear()
    assert secret_remover(load_settings())("snowflake says flake.") == "snowflake says ***."
