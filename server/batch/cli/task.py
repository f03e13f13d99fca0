"""Describe one run of the command, and load the local model for it."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from server.batch.options import BatchOptions, delimiter_of, text_format_of, wanted_of
from server.batch.scorer import Counts
from server.codecs.tables.media_types import Form
from server.models.repository import Repository
from server.settings import Settings, from_environment, variable


class Tried(NamedTuple):
    """What decides the answers: parts that were scored for another are of no use."""

    columns: str
    on_error: str
    delimiter: str | None
    model: str | None
    version: str | None
    label: str | None
    decimal: str | None = None
    null: str | None = None


class Served(NamedTuple):
    """The model version that answers."""

    model: str
    version: str
    sha256: str | None
    """The digest of its model.onnx, None where a service doesn't tell."""

    def __str__(self) -> str:
        return f"{self.model} version {self.version}"


class Done(NamedTuple):
    """What a task came to."""

    counts: Counts
    served: Served
    left_out: Collection[str] = ()
    """Columns that were to be passed on, and are of types that no format can hold."""


class Remote(NamedTuple):
    """A service to have the file scored by, and how it is called."""

    url: str
    headers: Sequence[tuple[str, str]]
    """Headers of each request; their values are secrets."""
    tries: int
    retry_wait_s: float
    """Seconds before the second try of a part; twice as long before each next one."""
    compress: bool


@dataclass(frozen=True, slots=True)
class Task:
    """One file to score."""

    input: Path | None
    """None for standard input."""
    output: Path | None
    """None for standard output, and where the parts are what is asked for."""
    form: Form | None
    """None for the input's own."""
    encoding: str
    """How the output is packed."""
    tried: Tried
    tabs: bool
    """Whether CSV is to be written with tabs."""
    models: Path | None
    remote: Remote | None
    """None where the file is scored here."""
    parts: Path | None
    """The folder that parts are kept in, None where the file is scored in one go."""
    part_rows: int
    quiet: bool
    shows: bool
    """Whether there is someone to show the progress to."""


def settings_of(task: Task) -> Settings:
    """Return the settings that hold without a server. Raises SettingsError."""
    given = {variable("max_spool_bytes"): str(2**40), **os.environ}  # whose file it is has the room for it
    if task.models is not None:
        given[variable("models")] = str(task.models)
    return from_environment(given)


def asked_here(task: Task, settings: Settings, served: Served | None = None) -> BatchOptions:
    """Return what a local job is asked for, of the version that is `served`, else of the one that is named.

    Raises ModelError, NotFound.
    """
    repository = Repository.load(settings.models, settings.default_model, settings.version_policy)
    named = (task.tried.model, task.tried.version, task.tried.label)
    model = repository.resolve(*(named if served is None else (served.model, served.version)))
    return BatchOptions(
        model=model,
        wanted=wanted_of(task.tried.columns, task.tried.on_error),
        delimiter=delimiter_of(task.tried.delimiter),
        text=text_format_of(task.tried.null, task.tried.decimal),
        answer_form=task.form,
        answer_delimiter="\t" if task.tabs else None,
    )


def served_by(asked: BatchOptions) -> Served:
    """Return the model version that answers here."""
    return Served(asked.model.name, asked.model.version, asked.model.manifest.sha256)
