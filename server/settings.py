"""Settings from environment variables, read and checked once at startup."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from server.errors import SettingsError
from server.models.quoting import quoted
from server.models.version_policy import ALL, VersionPolicy

PREFIX: Final = "LIFEBOAT_"
CHOICES: Final = {
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("json", "text"),
    "log_requests": ("none", "errors", "all"),
}
"""Allowed values of the settings that take one of a few words."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the server; `variable()` returns the environment variable of each field."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8080
    """TCP port to listen on. Its variable is PORT, the name that hosting platforms set."""
    models: Path = Path("models")
    """The model repository: `<name>/<version>/{model.onnx,manifest.json}`."""
    default_model: str = ""
    """Model that serves /api/predict; required only if several models are served."""
    version_policy: VersionPolicy = ALL
    """Versions to serve of each model: all, latest, latest:N or specific:1,2,...

    Labelled versions are always served.
    """
    repository_poll_s: int = 0
    """Seconds between two scans of the model repository for changes; 0 disables them."""
    admin_token: str = ""
    """Bearer token required to load and unload models; if empty, both are disabled."""
    max_body_bytes: int = 4 * 1024 * 1024
    """Maximum bytes of a request body, a few times the size of max_rows rows.

    A larger body is rejected with 413 before it is read.
    """
    max_held_bytes: int = 64 * 1024 * 1024
    """Maximum bytes of request bodies in memory over all connections; then 429."""
    body_timeout_s: int = 30
    """Seconds in which a request's head and body must arrive, except files.

    After that the client gets 408, and the connection closes.
    """
    min_bytes_per_s: int = 256
    """Minimum average bytes per second of a file transfer in either direction; 0 disables it.

    A slower transfer is aborted.
    """
    max_rows: int = 10_000
    """Maximum rows of one request; more are rejected with 413."""
    max_header_bytes: int = 65_536
    """Maximum bytes of a request's line and headers; more are rejected with 413."""
    max_json_depth: int = 32
    """Maximum nesting depth of arrays and objects in a body."""
    max_string_bytes: int = 65_536
    """Maximum bytes of one string in UTF-8; a longer string is rejected with 413."""
    max_protobuf_json_bytes: int = 96 * 1024
    """Maximum bytes of a message in protobuf's JSON mapping; a longer message is rejected.

    One megabyte of this format takes one second of CPU.
    """
    max_batch_rows: int = 256
    """Maximum rows of one run on the event loop; larger requests run in a thread.

    Such a request runs alone.
    """
    max_queue_rows: int = 100_000
    """Maximum rows that wait or run for each model version; more get 429 at once."""
    queue_delay_us: int = 0
    """Microseconds that the first request of a batch waits for more requests.

    With 0, only requests that arrive together run together.
    """
    max_batches: int = 2
    """Maximum files scored concurrently; one more is rejected with 429 at once."""
    max_explain_rows: int = 131_072
    """Maximum model rows for one explanation request, equal rows included; more get 413."""
    max_explanations: int = 4
    """Maximum concurrent explanation requests; one more is rejected with 429 at once."""
    max_record_batch_bytes: int = 128 * 1024 * 1024
    """Maximum bytes of one decompressed record batch of an Arrow stream.

    The record batch is held whole in memory.
    """
    max_columns: int = 4096
    """Maximum columns of a file besides the model's features; more are rejected with 413."""
    max_spool_bytes: int = 1024 * 1024 * 1024
    """Maximum bytes of one file that are written to a temporary file.

    This applies to Parquet, and to the input of a client that does not read its response.
    """
    max_idle_s: int = 60
    """Maximum seconds of a file transfer without progress in either direction."""
    cache_s: int = 60
    """Seconds that a GET response without a version in its URL may be cached.

    With 0, caches must revalidate each response.
    """
    drift_window_s: int = 86_400
    """Seconds of the window that drift detection compares with the training rows; 0 disables it."""
    http2: bool = False
    """Whether the port accepts cleartext HTTP/2 beside HTTP/1.1: 1 or 0.

    Native gRPC requires HTTP/2.
    """
    load_timeout_s: int = 60
    """Maximum seconds to load one model version; then the load fails.

    The error names the version.
    """
    run_timeout_s: int = 30
    """Maximum seconds of one model run; then it is terminated and clients get 504."""
    max_model_bytes: int = 268_435_456
    """Maximum bytes of a model.onnx; a larger file is rejected before it is read.

    The error names the version.
    """
    drain_s: int = 30
    """Seconds from SIGTERM to process exit, in which requests in flight are completed."""
    log_level: str = "info"
    """debug, info, warning or error."""
    log_format: str = ""
    """Log format: json (one object per line) or text (for people).

    If empty: text if standard error is a terminal, else json.
    """
    log_requests: str = "none"
    """Requests that get a log line each: none, errors or all."""
    log_inputs: bool = False
    """Whether the log may contain the values that clients sent: 1 or 0."""
    trace: bool = False
    """Whether requests are traced and the spans exported: 1 or 0.

    The OTEL_... variables configure the export.
    """


def variable(field: str) -> str:
    """Return the environment variable of a field of Settings."""
    return "PORT" if field == "port" else PREFIX + field.upper()


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Return the settings in `environment`, with defaults for missing variables.

    Raises SettingsError for an invalid value; the message names the variable and the expected value.
    """
    texts = {f.name: environment[variable(f.name)] for f in fields(Settings) if environment.get(variable(f.name))}
    values: dict[str, object] = dict(texts)
    for name, low, high in (
        ("port", 0, 65535),
        ("repository_poll_s", 0, 86_400),
        ("max_body_bytes", 1, 2**31),
        ("max_held_bytes", 1, 2**40),
        ("body_timeout_s", 1, 3600),
        ("min_bytes_per_s", 0, 2**31),
        ("max_rows", 1, 2**31),
        ("max_header_bytes", 256, 2**31),
        ("max_json_depth", 4, 500),
        ("max_string_bytes", 1, 2**31),
        ("max_protobuf_json_bytes", 1, 2**31),
        ("max_batch_rows", 1, 10_000),
        ("max_queue_rows", 1, 2**31),
        ("queue_delay_us", 0, 1_000_000),
        ("max_batches", 0, 64),
        ("max_explain_rows", 1, 2**31),
        ("max_explanations", 0, 64),
        ("max_record_batch_bytes", 1024, 2**31),
        ("max_columns", 0, 65_536),
        ("max_spool_bytes", 0, 2**40),
        ("max_idle_s", 1, 3600),
        ("cache_s", 0, 86_400),
        ("drift_window_s", 0, 31_536_000),
        ("load_timeout_s", 1, 3600),
        ("run_timeout_s", 1, 3600),
        ("max_model_bytes", 1, 2**31 - 1),
        ("drain_s", 0, 900),
    ):
        if name in texts:
            values[name] = _integer(variable(name), texts[name], low, high)
    if "models" in texts:
        values["models"] = Path(texts["models"])
    for name in ("http2", "log_inputs", "trace"):
        if name in texts:
            values[name] = _switch(variable(name), texts[name])
    if "admin_token" in texts:
        _check_token(variable("admin_token"), texts["admin_token"])
    if "version_policy" in texts:
        values["version_policy"] = _policy(variable("version_policy"), texts["version_policy"])
    for name, choices in CHOICES.items():
        if name in texts and texts[name] not in choices:
            raise SettingsError(f"{variable(name)}: expected one of {', '.join(choices)}; got {quoted(texts[name])}")
    return Settings(**values)  # type: ignore[arg-type] # each value got its field's type above


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the variables that have the prefix but are not settings.

    Such a variable is a typing error or belongs to a newer version.
    """
    setting_names = {variable(f.name) for f in fields(Settings)}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in setting_names)


def _policy(name: str, text: str) -> VersionPolicy:
    try:
        return VersionPolicy.parse(text)
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from None


def _check_token(name: str, token: str) -> None:
    """Raise SettingsError for a token that no Authorization header can hold (RFC 9110, section 5.5)."""
    if token != token.strip() or any(ord(each) < 0x20 or each == "\x7f" or ord(each) > 0xFF for each in token):
        raise SettingsError(f"{name}: expected Latin-1 without control characters, and no space at either end")


def _switch(name: str, text: str) -> bool:
    if text not in {"0", "1"}:
        raise SettingsError(f"{name}: expected 1 or 0; got {quoted(text)}")
    return text == "1"


def _integer(name: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdecimal()) or not low <= int(text) <= high:
        raise SettingsError(f"{name}: expected a whole number from {low} to {high}; got {quoted(text)}")
    return int(text)
