"""The settings of alerts: what is legal, what is refused, and that the address is never told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flux_assets.errors import SettingError
from flux_assets.settings import load_settings


@pytest.mark.parametrize(
    ("given", "meant"), [("3", 3), ("12", 12), ("15m", timedelta(minutes=15)), ("1h", timedelta(hours=1))]
)
def test_ticks_or_time(monkeypatch, given, meant):
    monkeypatch.setenv("FLUX_ALERT_AFTER", given)
    assert load_settings().flux_alert_after == meant


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("FLUX_ALERT_AFTER", "0", "a number of failed ticks"),
        ("FLUX_ALERT_AFTER", "soon", "a time span"),
        ("FLUX_ALERT_FORMAT", "pigeon", "'json' or 'slack'"),
        ("FLUX_ALERT_URL", "http://example.com/s3cr3t", "use https://"),
        ("FLUX_ALERT_URL", "http://127.evil.test/s3cr3t", "use https://"),
        ("FLUX_ALERT_URL", "s3cr3t", "not a web address"),
        ("FLUX_POST_URL", "http://example.com/s3cr3t", "use https://"),
        ("FLUX_ALERT_URL", "https://[s3cr3t", "not a web address"),
        ("FLUX_UI_URL", "https://me:s3cr3t@example.com", "user or password"),
    ],
)
def test_what_is_refused_is_named_without_secrets(monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError) as caught:
        load_settings()
    assert name in str(caught.value)
    assert said in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["https://example.com/s3cr3t", "http://127.0.0.1:9/s3cr3t", "http://localhost/s3cr3t"]
)
def test_a_legal_address_is_never_shown(monkeypatch, address):
    monkeypatch.setenv("FLUX_ALERT_URL", address)
    settings = load_settings()
    assert settings.flux_alert_url.get_secret_value() == address
    assert "s3cr3t" not in repr(settings)
