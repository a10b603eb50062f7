# SPDX-License-Identifier: Apache-2.0
"""Traces of OpenTelemetry, where `otlp_endpoint` says where they go; else nothing of its SDK is imported.

A request's trace goes with its job through the ledger, and the worker that takes the job goes on with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from clarivox.errors import OptionError
from clarivox.server.settings import Settings

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig
    from opentelemetry.sdk.trace import TracerProvider

UNSAID = ("url.path", "url.query", "url.full", "http.target", "http.url")
"""Attributes that can hold a client's names of images or patients; they are blanked before anything is sent."""

_provider: TracerProvider | None = None


def start(settings: Settings, process: str) -> None:
    """Set up traces in this process, if they are wanted.

    Args:
        settings: where they go.
        process: what this process is called, as server or worker.

    Raises:
        OptionError: the packages are missing, code no_telemetry; or that is no address.
    """
    global _provider
    if not settings.otlp_endpoint or _provider is not None:
        return
    if not settings.otlp_endpoint.startswith(("http://", "https://")):
        raise OptionError("otlp_endpoint is an address as http://127.0.0.1:4318", code="bad_setting")
    if find_spec("opentelemetry.sdk") is None or find_spec("opentelemetry.exporter") is None:
        raise OptionError("traces need more packages; pip install 'clarivox[telemetry]'", code="no_telemetry")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from clarivox.server.telemetry_spans import Blanks

    address = settings.otlp_endpoint.rstrip("/")
    address = address if address.endswith("/v1/traces") else f"{address}/v1/traces"
    provider = TracerProvider(resource=Resource.create({"service.name": f"clarivox-{process}"}))
    provider.add_span_processor(Blanks())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address)))
    _provider = provider


def stop() -> None:
    """Send what is left."""
    global _provider
    if _provider is not None:
        _provider.shutdown()
        _provider = None


def for_fastapi(settings: Settings) -> TelemetryConfig:
    """What FastAPI is told: spans of requests, and neither logs nor bodies, which could hold a patient's words.

    Raises:
        OptionError: traces are wanted and the packages are missing, code no_telemetry.
    """
    start(settings, "server")
    on = _provider is not None
    return {
        "tracing": on,
        "tracer_provider": _provider,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
    }


def traceparent() -> str | None:
    """The trace of the request at hand, for its job; None where there is none."""
    if _provider is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def span(name: str, parent: str | None, **attributes: str | int | float) -> Iterator[None]:
    """A span of work within a job's trace; costs nothing where traces are off.

    >>> with span("enhance", None, bundle="identity"):
    ...     pass
    """
    if _provider is None:
        yield
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({"traceparent": parent} if parent else {})
    tracer = _provider.get_tracer("clarivox")
    # The text of an exception may name a patient, so that only its kind is told.
    with tracer.start_as_current_span(
        name, context=context, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except BaseException as error:
            current.set_attribute("error.type", type(error).__name__)
            raise
