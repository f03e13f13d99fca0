"""What the command line asks for, and the model that answers it here."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from server.asked import Asked, delimiter_of, wanted_of
from server.repository import Repository
from server.settings import Settings, from_environment, variable
from server.tables.forms import Form


class Tried(NamedTuple):
    """What decides the answers: parts that were scored for another are of no use."""

    columns: str
    on_error: str
    delimiter: str | None
    model: str | None
    version: str | None
    label: str | None


class Served(NamedTuple):
    """The model version that answers."""

    model: str
    version: str
    sha256: str | None
    """The digest of its model.onnx, None where a service doesn't tell."""

    def __str__(self) -> str:
        return f"{self.model} version {self.version}"


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


def asked_here(task: Task, settings: Settings, served: Served | None = None) -> Asked:
    """Return what a local job is asked for, of the version that is `served`, else of the one that is named.

    Raises ModelError, NotFound.
    """
    repository = Repository.load(settings.models, settings.default_model, settings.version_policy)
    named = (task.tried.model, task.tried.version, task.tried.label)
    model = repository.resolve(*(named if served is None else (served.model, served.version)))
    return Asked(
        model=model,
        wanted=wanted_of(task.tried.columns, task.tried.on_error),
        delimiter=delimiter_of(task.tried.delimiter),
        answer_form=task.form,
        answer_delimiter="\t" if task.tabs else None,
    )


def served_by(asked: Asked) -> Served:
    """Return the model version that answers here."""
    return Served(asked.model.name, asked.model.version, asked.model.manifest.sha256)
