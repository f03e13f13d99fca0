"""Description of one run of the command, and its local model."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from server.batch.options import BatchOptions, parse_delimiter, parse_row_options, parse_text_format
from server.batch.scorer import Counts
from server.codecs.tables.media_types import FileFormat
from server.models.repository import Repository
from server.settings import Settings, from_environment, variable


class ScoringOptions(NamedTuple):
    """Options that determine the scored rows: parts with other options can't be reused."""

    columns: str
    on_error: str
    delimiter: str | None
    model: str | None
    version: str | None
    label: str | None
    decimal: str | None = None
    null: str | None = None


class ServedVersion(NamedTuple):
    """The model version that scores the file."""

    model: str
    version: str
    sha256: str | None
    """SHA-256 of the version's model.onnx; None for a service, which does not state it."""

    def __str__(self) -> str:
        return f"{self.model} version {self.version}"


class Result(NamedTuple):
    """Result of a task."""

    counts: Counts
    served: ServedVersion
    omitted_columns: Collection[str] = ()
    """Columns that were not passed on, because no format can hold their types."""


class Remote(NamedTuple):
    """A service that scores the file, and the options of its requests."""

    url: str
    headers: Sequence[tuple[str, str]]
    """Headers of each request; their values are secrets."""
    tries: int
    retry_wait_s: float
    """Seconds before the first retry of a part; doubled before each further retry."""
    compress: bool


@dataclass(frozen=True, slots=True)
class Task:
    """One file to score."""

    input: Path | None
    """None: standard input."""
    output: Path | None
    """None: standard output, or no merged file if the output is a folder of parts."""
    file_format: FileFormat | None
    """Format of the output; None: the input's format."""
    encoding: str
    """Compression of the output."""
    options: ScoringOptions
    tabs: bool
    """Whether CSV is written with tabs."""
    models: Path | None
    remote: Remote | None
    """None: score on this machine."""
    parts: Path | None
    """Folder of the parts; None: score the file without parts."""
    part_rows: int
    quiet: bool
    shows_progress: bool
    """Whether to show the progress bar."""


def settings_of(task: Task) -> Settings:
    """Return the settings for scoring without a server. Raises SettingsError."""
    environment = {variable("max_spool_bytes"): str(2**40), **os.environ}  # the user's own file needs no small limit
    if task.models is not None:
        environment[variable("models")] = str(task.models)
    return from_environment(environment)


def local_options(task: Task, settings: Settings, served: ServedVersion | None = None) -> BatchOptions:
    """Return the options of a local job for the model version `served`.

    None: the version that the task names. Raises ModelError, NotFound.
    """
    repository = Repository.load(settings.models, settings.default_model, settings.version_policy)
    resolved_names = (task.options.model, task.options.version, task.options.label)
    model = repository.resolve(*(resolved_names if served is None else (served.model, served.version)))
    return BatchOptions(
        model=model,
        row_options=parse_row_options(task.options.columns, task.options.on_error),
        delimiter=parse_delimiter(task.options.delimiter),
        text=parse_text_format(task.options.null, task.options.decimal),
        response_format=task.file_format,
        response_delimiter="\t" if task.tabs else None,
    )


def served_by(options: BatchOptions) -> ServedVersion:
    """Return the model version that a local job uses."""
    return ServedVersion(options.model.name, options.model.version, options.model.manifest.sha256)
