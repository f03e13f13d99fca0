"""Spans for requests, by OpenTelemetry and its semantic conventions; exported over OTLP/HTTP.

Needs the extra `trace`. Imported only if LIFEBOAT_TRACE is set. OpenTelemetry itself reads the OTEL_... variables.
"""

import threading
from collections.abc import Mapping
from typing import Final, Self

from server.errors import CODES, SettingsError
from server.http.request_context import TRACE, Observation, Run
from server.http.routes import is_call
from server.models.quoting import quoted

try:
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as missing:
    raise SettingsError(
        f"LIFEBOAT_TRACE: expected the extra `trace` to be installed, as by pip install 'lifeboat[trace]'; {missing}"
    ) from None

_SUPPORTED_VALUES: Final = {
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
}
"""The only supported values of variables that select an exporter or protocol."""
_UNTRACED: Final = frozenset(
    {"/metrics", "/v2/health/live", "/v2/health/ready", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"}
)
"""Paths of frequent health checks and metrics scrapes."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
"""Known methods. Any other is `_OTHER`, to bound the names (semantic conventions, HTTP)."""
_PLACEHOLDERS: Final = {"models": "{model}", "versions": "{version}", "labels": "{label}"}
_PATHS_WITHOUT_NAMES: Final = frozenset({"/v2/models/stats"})
_FAULT_CODES: Final = frozenset({"deadline_exceeded", "unimplemented", "internal", "unavailable"})
"""Codes of a call that are server failures (semantic conventions, gRPC)."""
_GRPC_STATUS: Final = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""gRPC status names, indexed by status number."""
_MAX_PATH: Final = 256
_RESPONSE: Final = b"traceresponse"
"""Response header with the request's span (W3C Trace Context, level 2, draft)."""


class Tracing:
    """Creates a server span for each request, with child spans for queue and run."""

    def __init__(self, provider: TracerProvider) -> None:
        """Create spans with `provider`."""
        self._provider = provider
        self._tracer = provider.get_tracer("lifeboat")
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Return a tracer that exports spans as the standard variables configure.

        Raises SettingsError for an unsupported exporter or protocol, or an invalid value.
        """
        for name, supported in _SUPPORTED_VALUES.items():
            if environment.get(name) not in {None, "", supported}:
                raise SettingsError(f"{name}: expected {supported}; got {quoted(environment[name])}")
        has_service_name = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        )
        resource = Resource.create({} if has_service_name else {SERVICE_NAME: "lifeboat"})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # `close` shuts it down, with a timeout
        try:
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        except ValueError as error:
            raise SettingsError(f"OTEL_BSP_... or OTEL_EXPORTER_OTLP_...: {error}") from None
        return cls(provider)

    def on_begin(self, observation: Observation) -> None:
        """Start the span of a request and put it into the request's trace context."""
        if observation.path in _UNTRACED:
            return
        name, attributes = _initial_attributes(observation)
        span = self._tracer.start_span(
            name,
            context=self._parent(observation),
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=observation.start.unix_ns,
        )
        span_context = span.get_span_context()
        observation.span = span
        observation.trace = (
            f"00-{span_context.trace_id:032x}-{span_context.span_id:016x}-{span_context.trace_flags:02x}"
        )
        field = observation.trace.encode()
        observation.headers.append((TRACE, field))
        observation.response_fields = (*observation.response_fields, (_RESPONSE, field))

    def on_end(self, observation: Observation) -> None:
        """End the span of a request."""
        span: Span | None = observation.span
        if span is None or not span.is_recording():
            return
        context = set_span_in_context(span)
        for run in observation.runs:
            self._run(context, run)
        _describe(span, observation)
        span.end(observation.start.unix_ns + observation.duration_ns)

    def close(self, timeout_s: float) -> None:
        """Export the remaining spans; spans not exported within `timeout_s` are lost."""
        thread = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        thread.start()
        thread.join(timeout_s)

    def _parent(self, observation: Observation) -> Context:
        """Return the client's parent span; empty if several or an invalid one is given."""
        fields: dict[str, list[str]] = {}
        for name, value in observation.headers:
            if name in {TRACE, b"tracestate"}:
                fields.setdefault(name.decode(), []).append(value.decode("latin-1"))
        if not observation.trace or len(fields["traceparent"]) > 1:
            return Context()
        return self._propagator.extract({name: ",".join(values) for name, values in fields.items()}, Context())

    def _run(self, context: Context, run: Run) -> None:
        queue = self._tracer.start_span("queue", context=context, start_time=run.queued_ns)
        queue.end(max(run.queued_ns, run.began_ns))
        attributes = {"lifeboat.batch.rows": run.rows, "lifeboat.batch.requests": run.requests}
        self._tracer.start_span("run", context=context, attributes=attributes, start_time=run.began_ns).end(
            run.ended_ns
        )


def _initial_attributes(observation: Observation) -> tuple[str, dict[str, str]]:
    """Return the initial name and attributes of a span, which a sampler uses."""
    attributes = {"network.protocol.version": observation.http_version}
    if is_call(observation.path):
        name = observation.path[1 : _MAX_PATH + 1]
        return name, attributes | {"rpc.system.name": _system(observation), "rpc.method": name}
    method = observation.method if observation.method in _METHODS else "_OTHER"
    attributes |= {
        "http.request.method": method,
        "url.path": observation.path[:_MAX_PATH],  # no url.query, because it contains inputs
        "url.scheme": "http",
    }
    return f"{_verb(observation)} {_route(observation.path)}", attributes


def _describe(span: Span, observation: Observation) -> None:
    """Set the result of a request on its span."""
    code = observation.code
    if is_call(observation.path):
        is_fault = _describe_call(span, observation, code)
    else:
        is_fault = _describe_request(span, observation, code)
    if is_fault:
        span.set_status(StatusCode.ERROR)
        span.set_attribute("error.type", code)
    if code:
        span.set_attribute("lifeboat.error.code", code)
    if observation.model:
        span.set_attribute("lifeboat.model", observation.model)
        span.set_attribute("lifeboat.model.version", observation.model_version)
        span.set_attribute("lifeboat.rows", observation.rows)
    span.set_attribute("lifeboat.request_id", observation.request_id)


def _describe_request(span: Span, observation: Observation, code: str) -> bool:
    """Set the result of an HTTP request; return True if the server failed."""
    span.set_attribute("http.response.status_code", observation.status)
    span.set_attribute("http.request.body.size", observation.request_bytes)
    span.set_attribute("http.response.body.size", observation.response_bytes)
    if code in {"not_found", "method_not_allowed"} and not observation.model:  # the path may be arbitrary
        span.update_name(_verb(observation))
    else:
        span.set_attribute("http.route", _route(observation.path))
    return observation.status >= 500 or (observation.status < 400 and bool(code) and code != "canceled")


def _describe_call(span: Span, observation: Observation, code: str) -> bool:
    """Set the result of an RPC call; return True if the server failed."""
    system = _system(observation)
    if code in {"not_found", "unimplemented"} and not observation.model:  # the path may be arbitrary
        span.update_name(system)
        span.set_attribute("rpc.method", "_OTHER")
    if system == "grpc":
        span.set_attribute("rpc.response.status_code", _GRPC_STATUS[CODES[code].grpc if code else 0])
    elif code:
        span.set_attribute("rpc.response.status_code", code)
    return code in _FAULT_CODES


def _system(observation: Observation) -> str:
    """Return the RPC system of a call: gRPC, including gRPC-Web, or Connect."""
    kinds = [value for name, value in observation.headers if name == b"content-type"]
    return "grpc" if kinds and kinds[0].startswith(b"application/grpc") else "connectrpc"


def _verb(observation: Observation) -> str:
    return observation.method if observation.method in _METHODS else "HTTP"


def _route(path: str) -> str:
    """Return the route of a path, with placeholders for names."""
    if path in _PATHS_WITHOUT_NAMES:
        return path
    parts = path.split("/")
    for index, segment in enumerate(parts[:-1], 1):
        parts[index] = _PLACEHOLDERS.get(segment, parts[index])
    return "/".join(parts)[:_MAX_PATH]
