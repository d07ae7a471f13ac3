"""The worker's spans at a collector: each posted call once, and never at the cost of posting."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from libs.common.domain.traces import span_id_of, trace_id_of
from libs.common.schemas.usage import FailedAttempt
from libs.common.settings import Secret, SettingsError, load_settings
from services.ledger_worker.call_spans import Span
from services.ledger_worker.metrics import Metrics
from services.ledger_worker.otlp_sender import OtlpSender
from services.ledger_worker.settings import Settings
from services.ledger_worker.trace_export import TraceExport
from tests.servers import HOST, free_port, reserved
from tests.service.ledger_worker.worker_stage import Stage, make_event, make_events, working
from tests.unit import builders

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALL = "01a2278a-2cb4-794c-b783-170073f70ba4"


class Collector:
    """Decodes what it is sent, and answers as told."""

    def __init__(self) -> None:
        self.status = 200
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            if collector.status == 200:
                request = ExportTraceServiceRequest()
                request.ParseFromString(body)
                collector.headers.append({k.lower(): v for k, v in self.headers.items()})
                collector.requests.append(request)
            self.send_response(collector.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def attributes_of(span: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes
    }


async def test_posted_calls_reach_the_collector(
    stage: Stage, settings: Settings, collector: Collector
) -> None:
    settings = msgspec.structs.replace(
        settings,
        otel_exporter_otlp_endpoint=collector.url,
        otel_exporter_otlp_headers=Secret("authorization=Bearer%20t"),
    )
    failure = FailedAttempt(
        deployment="west", provider="openai", model="m", status=529, after_ms=2, elapsed_ms=30
    )
    traced = make_event(
        traceparent=f"00-{TRACE}-{PARENT}-01", stream=True, attempts=2, latency_ms=500,
        first_byte_ms=90, asked_after_ms=40, failed_attempts=(failure,), deployment="east",
    )  # fmt: skip
    unsampled = make_event(traceparent=f"00-{TRACE}-{PARENT}-00", attempts=1)
    untraced = make_event(attempts=1)
    async with working(stage, settings):
        # The same call in two jobs is posted, and exported, once.
        await stage.enqueue([traced, unsampled, untraced])
        await stage.enqueue([traced])
        await stage.drained()
    spans = {span.span_id.hex(): span for span in collector.spans}
    assert len(spans) == len(collector.spans) == 5
    own = spans[span_id_of(traced.call_id)]
    failed, answered = (spans[span_id_of(traced.call_id, number)] for number in (1, 2))
    assert (own.trace_id.hex(), own.parent_span_id.hex()) == (TRACE, PARENT)
    assert failed.parent_span_id == answered.parent_span_id == own.span_id
    assert failed.end_time_unix_nano - failed.start_time_unix_nano == 30_000_000
    assert attributes_of(failed)["error.type"] == "529"
    assert (own.kind, answered.kind) == (own.SPAN_KIND_SERVER, own.SPAN_KIND_CLIENT)
    (first,) = answered.events
    assert first.time_unix_nano - own.start_time_unix_nano == 90_000_000
    assert attributes_of(own)["gen_ai.usage.input_tokens"] == 1000
    assert attributes_of(own)["gateway.cost_usd"] == 0.0045
    assert spans[span_id_of(untraced.call_id)].trace_id.hex() == trace_id_of(untraced.call_id)
    assert collector.headers[0]["authorization"] == "Bearer t"
    (resource,) = {
        attributes_of(resource_spans.resource)["service.name"]
        for request in collector.requests
        for resource_spans in request.resource_spans
    }
    assert resource == "gateway"


async def test_a_dead_collector_stops_no_posting(stage: Stage, settings: Settings) -> None:
    port = free_port()
    url = f"http://{HOST}:{port}"
    settings = msgspec.structs.replace(settings, otel_exporter_otlp_endpoint=url)
    with reserved(port):
        async with working(stage, settings):
            await stage.enqueue(make_events(3))
            await stage.drained()
    ends = [counts(stage.metrics)[end] for end in ("exported", "failed", "dropped")]
    assert (ends[0], sum(ends)) == (0, 3)


def counts(metrics: Metrics) -> dict[str, float]:
    return {
        end: metrics.traced_calls.labels(end)._value.get()
        for end in ("exported", "failed", "dropped")
    }


def entries(number: int) -> list[Any]:
    return [builders.entry(f"{CALL[:-4]}{n:04x}") for n in range(number)]


def test_spans_beyond_the_limit_are_dropped_at_once_and_counted() -> None:
    started, goes_on = threading.Event(), threading.Event()
    sent: list[int] = []

    def slow(spans: Sequence[Span]) -> bool:
        started.set()
        goes_on.wait()
        sent.append(len(spans))
        return True

    metrics = Metrics()
    export = TraceExport(slow, metrics, share=1.0, max_waiting=4, gather_s=0.0)
    export.offer(entries(1))
    started.wait()
    # One is being sent, four wait.
    export.offer(entries(10))
    assert counts(metrics) == {"exported": 0, "failed": 0, "dropped": 6}
    # The end waits for a bounded time, and then counts also what is being sent.
    export.close(within_s=0.05)
    assert counts(metrics) == {"exported": 0, "failed": 0, "dropped": 11}
    goes_on.set()
    # The thread ends, and counts nothing again.
    for thread in threading.enumerate():
        if thread.name == "traces":
            thread.join(30)
            assert not thread.is_alive()
    assert sent == [1]
    assert counts(metrics) == {"exported": 0, "failed": 0, "dropped": 11}


def test_the_end_sends_what_waits() -> None:
    metrics = Metrics()
    sent: list[Span] = []

    def send(spans: Sequence[Span]) -> bool:
        sent.extend(spans)
        return True

    export = TraceExport(send, metrics, share=1.0, gather_s=60.0)
    export.offer(entries(300))
    export.close(within_s=30.0)
    assert len({span.trace_id for span in sent}) == 300
    assert counts(metrics) == {"exported": 300, "failed": 0, "dropped": 0}


def test_an_error_of_the_sender_does_not_end_the_export() -> None:
    metrics = Metrics()
    outcomes: Iterator[bool | Exception] = iter([ValueError("broken"), True])

    def send(_: Sequence[Span]) -> bool:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    export = TraceExport(send, metrics, share=1.0, gather_s=0.0)
    export.offer(entries(1))
    export.offer([])
    while not counts(metrics)["failed"]:
        threading.Event().wait(0.005)
    export.offer(entries(1))
    export.close(within_s=30.0)
    assert counts(metrics) == {"exported": 1, "failed": 1, "dropped": 0}


@pytest.mark.parametrize(("share", "exported"), [(0.0, 0), (1.0, 2)])
def test_calls_without_a_parent_are_exported_by_share(share: float, exported: int) -> None:
    metrics = Metrics()
    export = TraceExport(lambda _: True, metrics, share=share)
    export.offer(entries(2))
    # Corrections are not calls.
    export.offer([builders.entry("other", kind="refund")])
    export.close(within_s=30.0)
    assert counts(metrics)["exported"] == exported


@pytest.mark.parametrize("status", [400, 413, 401])
def test_a_refusal_is_a_failure(collector: Collector, status: int) -> None:
    collector.status = status
    sender = OtlpSender(collector.url, timeout_s=2.0)
    assert sender.send([]) is False
    sender.close()


def test_a_worker_without_a_collector_does_not_load_the_library() -> None:
    code = (
        "import sys, services.ledger_worker.process;"
        "print(sorted(n for n in sys.modules if n.startswith('opentelemetry')))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,=2"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.1"),
    ],
)
def test_wrong_settings_are_refused(variable: str, value: str) -> None:
    environment = {"MONGO_URI": "mongodb://h/d", "REDIS_URL": "redis://h", variable: value}
    with pytest.raises(SettingsError, match=variable):
        load_settings(Settings, environment)
