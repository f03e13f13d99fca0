"""What the command line asks for, and the model that answers it here."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from server.asked import Asked, delimiter_of, wanted_of
from server.repository import Repository
from server.settings import Settings, from_environment
from server.tables.forms import Form


class Tried(NamedTuple):
    """What decides the answers: parts that were scored for another are of no use."""

    columns: str
    on_error: str
    delimiter: str | None
    model: str | None
    version: str | None
    label: str | None


@dataclass(frozen=True, slots=True)
class Task:
    """One file to score."""

    input: Path | None
    """None for standard input."""
    output: Path | None
    """None for standard output, and where the parts are what is asked for."""
    form: Form | None
    """None for the input's own."""
    tried: Tried
    tabs: bool
    """Whether CSV is to be written with tabs."""
    models: Path | None
    url: str | None
    parts: Path | None
    """The folder that parts are kept in, None where the file is scored in one go."""
    part_rows: int
    quiet: bool


def settings_of(task: Task) -> Settings:
    """Return the settings that hold without a server. Raises SettingsError."""
    given = dict(os.environ)
    if task.models is not None:
        given["LIFEBOAT_MODELS"] = str(task.models)
    return from_environment(given)


def asked_here(task: Task, settings: Settings, **more: Any) -> Asked:  # noqa: ANN401 # Asked's own fields
    """Return what a local job is asked for. Raises ModelError, NotFound, InvalidArgument."""
    repository = Repository.load(settings.models, settings.default_model, settings.version_policy)
    model = repository.resolve(task.tried.model, task.tried.version, task.tried.label)
    return Asked(
        model=model,
        wanted=wanted_of(task.tried.columns, task.tried.on_error),
        delimiter=delimiter_of(task.tried.delimiter),
        answer_form=task.form,
        answer_delimiter="\t" if task.tabs else None,
        **more,
    )
