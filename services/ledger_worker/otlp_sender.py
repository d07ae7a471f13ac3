"""Spans as OpenTelemetry's SDK has them, sent by its exporter. Imported only where it is used.

The exporter reads further variables of OpenTelemetry by itself, such as
OTEL_EXPORTER_OTLP_CERTIFICATE; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES count too.
"""

import logging
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.re import parse_env_headers

from libs.common.settings import Secret
from libs.common.version import VERSION
from services.ledger_worker.call_spans import Span

_SERVICE = "gateway"
_PATH = "/v1/traces"
# For all tries of one export.
_TIMEOUT_S = 5.0
_FIRST_CHUNK = "gen_ai.first_chunk"
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope(_SERVICE, VERSION)


class OtlpSender:
    """Sends to `endpoint` + `/v1/traces`; `headers` are `name=value` separated by commas."""

    def __init__(
        self, endpoint: str, headers: Secret | None = None, *, timeout_s: float = _TIMEOUT_S
    ) -> None:
        # It writes a line for each export that fails; the worker writes one for each outage.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        fields = {} if headers is None else parse_env_headers(headers.reveal(), liberal=True)
        self._exporter = OTLPSpanExporter(
            f"{endpoint.rstrip('/')}{_PATH}", headers=fields, timeout=timeout_s
        )
        resource = Resource({"service.name": _SERVICE, "service.version": VERSION})
        self._resource = resource.merge(OTELResourceDetector().detect())

    def send(self, spans: Sequence[Span]) -> bool:
        result = self._exporter.export([_as_otel(span, self._resource) for span in spans])
        return result is SpanExportResult.SUCCESS

    def close(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _as_otel(span: Span, resource: Resource) -> ReadableSpan:
    events: tuple[Event, ...] = ()
    if span.first_chunk_ns is not None:
        events = (Event(_FIRST_CHUNK, timestamp=span.first_chunk_ns),)
    attributes = dict(span.attributes)
    if span.error is not None:
        attributes["error.type"] = span.error
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id, is_remote=False),
        parent=None
        if span.parent_id is None
        else _context(span.trace_id, span.parent_id, is_remote=span.is_call),
        resource=resource,
        attributes=attributes,
        events=events,
        kind=SpanKind.SERVER if span.is_call else SpanKind.CLIENT,
        status=Status(StatusCode.UNSET if span.error is None else StatusCode.ERROR),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=_SCOPE,
    )


def _context(trace_id: str, span_id: str, *, is_remote: bool) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote, _SAMPLED)
