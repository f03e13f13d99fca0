"""Environment to settings: read once, checked at the start, frozen after."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from server.errors import SettingsError
from server.version_policy import ALL, VersionPolicy

PREFIX: Final = "LIFEBOAT_"
WORDS: Final = {
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("json", "text"),
    "log_requests": ("none", "errors", "all"),
}
"""What a setting may be that is one of a few words."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator can set; `variable()` gives each field's environment variable."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8080
    """TCP port to listen on (the variable is PORT, as platforms set it)."""
    models: Path = Path("models")
    """The model repository: `<name>/<version>/{model.onnx,manifest.json}`."""
    default_model: str = ""
    """The model that /api/predict answers from; needed only where several are served."""
    version_policy: VersionPolicy = ALL
    """Which versions of each model are served: all, latest, latest:N or specific:1,2,...; labelled ones always are."""
    watch_s: int = 0
    """Seconds between two looks at the model repository, of which what has changed is read again; 0: none."""
    admin_token: str = ""
    """The bearer token that loading and unloading models takes; without one, neither can be done."""
    max_body_bytes: int = 4 * 1024 * 1024
    """Bytes a request body may have, a few times what max_rows rows take; more is 413, told before it is read."""
    max_rows: int = 10_000
    """Rows one request may carry; more is refused with 413."""
    max_header_bytes: int = 65_536
    """Bytes that a request's line and headers may have; more is refused with 413."""
    max_json_depth: int = 32
    """How deep arrays and objects of a body may stand in each other."""
    max_string_bytes: int = 65_536
    """Bytes that one string may have, in UTF-8; a longer one is refused with 413."""
    max_batch_rows: int = 256
    """Rows that one run of the model takes at most on the event loop; a larger request runs alone, in a thread."""
    max_queue_rows: int = 100_000
    """Rows that may wait or run for each model version; what would be more is refused with 429 at once."""
    queue_delay_us: int = 0
    """Microseconds that the first request of a batch waits for company; 0: what arrived together runs together."""
    max_batches: int = 2
    """Files that are scored at a time; one more is refused with 429 at once."""
    max_explain_rows: int = 131_072
    """Rows of the model that one request for explanations may take, equal ones counted; more is refused with 413."""
    max_explanations: int = 4
    """Requests for explanations that are answered at a time; one more is refused with 429 at once."""
    max_record_batch_bytes: int = 128 * 1024 * 1024
    """Bytes that one record batch of an Arrow stream may have, unpacked: it is held whole."""
    max_spool_bytes: int = 1024 * 1024 * 1024
    """Bytes of one file that may be put into a temporary file: Parquet, or what a caller sends who doesn't read."""
    max_idle_s: int = 60
    """Seconds that a file may stand still, nothing of it coming and nothing of its answer being read."""
    cache_s: int = 60
    """Seconds that the answer to a GET may be kept whose address names no version; 0: none are without asking."""
    drift_window_s: int = 86_400
    """Seconds over which what is asked and answered is compared with the training rows; 0: it isn't."""
    http2: bool = False
    """Whether the port speaks cleartext HTTP/2 beside HTTP/1.1, which native gRPC needs: 1 or 0."""
    drain_s: int = 30
    """Seconds that requests in flight have to finish after SIGTERM."""
    log_level: str = "info"
    """debug, info, warning or error."""
    log_format: str = ""
    """json: an object a line; text: for people. Empty: text where standard error is a terminal, else json."""
    log_requests: str = "none"
    """Which requests have a line each in the log: none, errors or all."""
    log_inputs: bool = False
    """Whether the log may hold what callers sent: 1 or 0."""
    trace: bool = False
    """Whether requests are traced and the spans exported, as the variables OTEL_... say: 1 or 0."""


def variable(field: str) -> str:
    """Return the environment variable of a field of Settings."""
    return "PORT" if field == "port" else PREFIX + field.upper()


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Return the settings that `environment` asks for, defaults for what it doesn't name.

    Raises SettingsError, naming the variable and what was expected, for a value that can't be used.
    """
    given = {f.name: environment[variable(f.name)] for f in fields(Settings) if environment.get(variable(f.name))}
    values: dict[str, object] = dict(given)
    for name, low, high in (
        ("port", 0, 65535),
        ("watch_s", 0, 86_400),
        ("max_body_bytes", 1, 2**31),
        ("max_rows", 1, 2**31),
        ("max_header_bytes", 256, 2**31),
        ("max_json_depth", 4, 500),
        ("max_string_bytes", 1, 2**31),
        ("max_batch_rows", 1, 10_000),
        ("max_queue_rows", 1, 2**31),
        ("queue_delay_us", 0, 1_000_000),
        ("max_batches", 0, 64),
        ("max_explain_rows", 1, 2**31),
        ("max_explanations", 0, 64),
        ("max_record_batch_bytes", 1024, 2**31),
        ("max_spool_bytes", 0, 2**40),
        ("max_idle_s", 1, 3600),
        ("cache_s", 0, 86_400),
        ("drift_window_s", 0, 31_536_000),
        ("drain_s", 0, 900),
    ):
        if name in given:
            values[name] = _integer(variable(name), given[name], low, high)
    if "models" in given:
        values["models"] = Path(given["models"])
    for name in ("http2", "log_inputs", "trace"):
        if name in given:
            values[name] = _switch(variable(name), given[name])
    if "version_policy" in given:
        values["version_policy"] = _policy(variable("version_policy"), given["version_policy"])
    for name, words in WORDS.items():
        if name in given and given[name] not in words:
            raise SettingsError(f"{variable(name)}: expected one of {', '.join(words)}; got {given[name]!r}")
    return Settings(**values)  # type: ignore[arg-type] # each value was given its field's type above


def unknown(environment: Mapping[str, str]) -> list[str]:
    """Return the variables that carry the prefix and are no setting: a typing error, or a newer version's."""
    known = {variable(f.name) for f in fields(Settings)}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def _policy(name: str, text: str) -> VersionPolicy:
    try:
        return VersionPolicy.parse(text)
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from None


def _switch(name: str, text: str) -> bool:
    if text not in {"0", "1"}:
        raise SettingsError(f"{name}: expected 1 or 0; got {text!r}")
    return text == "1"


def _integer(name: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdecimal()) or not low <= int(text) <= high:
        raise SettingsError(f"{name}: expected a whole number from {low} to {high}; got {text!r}")
    return int(text)
