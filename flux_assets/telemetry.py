"""What a process is at right now, for whoever looks on: labels in lines of JSON, and spans where OpenTelemetry is told
where to send them.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from flux_assets.errors import SettingError
from flux_assets.settings import DefinitionSettings

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# Of what is under way in this thread, by the names of the metrics' labels: utility, table, kind, step; and run_id.
_labels: ContextVar[Mapping[str, str] | None] = ContextVar("labels", default=None)


@contextmanager
def span(name: str, **labels: str | None) -> Iterator[Callable[[BaseException], None]]:
    """Have the block's lines of JSON bear the labels, and its span, with what it raises; yields what notes an error."""
    known = {label: value for label, value in {**(_labels.get() or {}), **labels}.items() if value}
    token = _labels.set(known)
    try:
        tracer = _tracer() if any(os.environ.get(endpoint) for endpoint in _ENDPOINTS) else None
        if tracer is None:
            yield lambda _error: None
            return
        from opentelemetry.trace import Status, StatusCode

        with tracer.start_as_current_span(name, attributes=_utility() | known) as current:

            def failed(error: BaseException) -> None:
                current.record_exception(error)
                current.set_status(Status(StatusCode.ERROR, str(error)))

            yield failed
    finally:
        _labels.reset(token)


def _utility() -> dict[str, str]:
    utility = DefinitionSettings.load().flux_utility
    return {"utility": utility} if utility else {}


@cache
def _tracer() -> Tracer | None:
    """Return what sends spans, in a thread of its own; None, which is logged, where its packages are missing."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logging.getLogger(__name__).warning(
            "%s is set, but OpenTelemetry is not installed: no spans are sent. Run pip install 'flux_assets[otel]', or"
            " unset it.",
            next(endpoint for endpoint in _ENDPOINTS if os.environ.get(endpoint)),
        )
        return None
    # Of a collector that is away: the end of the process waits for the last spans.
    os.environ.setdefault("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    named = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or "flux_assets"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer: Tracer = provider.get_tracer("flux_assets")
    return tracer


class JsonLines(logging.Formatter):
    """One object a line: time (UTC), level, logger, message, and what is known of run_id, table, kind, step, error."""

    def __init__(self) -> None:
        super().__init__()
        self._common: dict[str, str] = {}
        with suppress(SettingError):  # which may be what is to be told
            self._common = _utility()

    def format(self, record: logging.LogRecord) -> str:
        told: Mapping[str, Any] = getattr(record, "dagster_meta", None) or {}
        event = told.get("dagster_event")
        key = getattr(event, "asset_key", None)
        error = getattr(getattr(event, "event_specific_data", None), "error", None)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": told.get("orig_message") or record.getMessage(),
            "run_id": told.get("run_id"),
            "job": told.get("job_name"),
            "dagster_step": told.get("step_key"),
            "event": getattr(event, "event_type_value", None),
            "table": key.path[-1] if key else None,
            "error": error.to_string() if error else self.formatException(record.exc_info) if record.exc_info else None,
            **self._common,
            **(_labels.get() or {}),
        }
        return json.dumps({name: value for name, value in line.items() if value is not None}, default=str)

    @classmethod
    def take_over(cls, *loggers: logging.Logger) -> None:
        """Have the loggers write these lines, and what has no handler of its own."""
        handlers = [handler for logger in loggers for handler in logger.handlers]
        for handler in filter(None, [logging.lastResort, *handlers]):
            handler.setFormatter(cls())
