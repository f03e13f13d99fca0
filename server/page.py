"""Manifests to the page of `GET /`: the whole document, and the part of it that is one model's.

Nothing of the page is inline and nothing comes from elsewhere, so that CONTENT_SECURITY_POLICY can be strict: what runs
and what styles is in `server/web`, and is sent as it is.
"""

from html import escape
from pathlib import Path
from string import Template
from typing import Final
from urllib.parse import quote

from server.form import fields
from server.manifest import Manifest
from server.repository import Repository
from server.rpc import typed_file

WEB: Final = Path(__file__).parent / "web"
INDEX: Final = "index.html"
MAIN: Final = "main.html"
DOCS: Final = "docs.html"
"""The page of `/api/docs`, which is the same for all models: it reads the OpenAPI document."""
TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""Suffix to media type: the files that are sent as they are."""
HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",  # kept, and asked for anew: the model may have moved, and names of files stay
}
_TOLD_CLASSES: Final = 5
"""Of more, their number is told."""
_SCORES: Final = {
    "accuracy": "accuracy",
    "roc_auc": "ROC AUC",
    "log_loss": "log loss",
    "brier": "Brier score",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "r2": "R²",
}


def static_files() -> dict[str, bytes]:
    """Return the files that are sent as they are: name to bytes."""
    return {path.name: path.read_bytes() for path in sorted(WEB.iterdir()) if path.suffix in TYPES}


def document(repository: Repository, name: str) -> str:
    """Return the page of a model. Raises NotFound where it isn't served."""
    manifest = repository.versions(name).default.manifest
    modules = (each for each in static_files() if each.endswith(".js") and not each.startswith("docs"))
    return _template(INDEX).substitute(
        title=escape(f"{manifest.name}: {manifest.target}"),
        description=escape(manifest.description),
        preload="\n".join(f'<link rel="modulepreload" href="/web/{each}">' for each in modules),
        models=_models(repository, name),
        main=part(repository, name),
    )


def part(repository: Repository, name: str) -> str:
    """Return the page's main part, which is all that depends on the model. Raises NotFound where it isn't served."""
    model = repository.versions(name).default
    manifest, card = model.manifest, repository.card(model)
    quoted = quote(name, safe="")
    is_default = name == repository.default_model
    labels = [label for label, version in repository.versions(name).labels.items() if version == manifest.version]
    return _template(MAIN).substitute(
        model=escape(name),
        address=f"/api/models/{quoted}",
        version=manifest.version,
        labels="".join(f" · {escape(label)}" for label in labels),
        sha256=escape(manifest.sha256),
        kind=manifest.kind,
        target=escape(manifest.target),
        positive=escape(manifest.positive_class or ""),
        root="/api" if is_default else f"/api/models/{quoted}",
        method=escape(f"{typed_file.package(manifest)}.{typed_file.service(manifest)}/Predict"),
        explained=" data-explained" if manifest.explained_rows else "",
        compared=" data-compared" if manifest.reference is not None else "",
        question=escape(manifest.description or f"{manifest.name}: what is {manifest.target}?"),
        answers=escape(_answers(manifest)),
        fields=fields(manifest),
        scores=_scores(manifest),
        limits=_limits(manifest),
        card=f'<li><a href="/api/models/{quoted}/card">The model card</a>: how good it is, and where not to use it</li>'
        if card is not None and card.exists()
        else "",
    )


def _template(name: str) -> Template:
    return Template((WEB / name).read_text())


def _models(repository: Repository, name: str) -> str:
    """Return links to the pages of all models, where there are several."""
    if len(repository.models) < 2:
        return ""
    made = []
    for each in repository.models:
        here = ' aria-current="page"' if each == name else ""
        made.append(f'<a href="/?model={quote(each, safe="")}"{here}>{escape(each)}</a>')
    return f'<nav class="models" aria-label="Models">{"".join(made)}</nav>'


def _answers(manifest: Manifest) -> str:
    if manifest.kind == "regression":
        return f"It answers with a number, {manifest.target}."
    classes = manifest.classes
    what = " or ".join(classes) if len(classes) <= _TOLD_CLASSES else f"one of {len(classes)} classes"
    return f"It answers {what}, and how likely each is."


def _scores(manifest: Manifest) -> str:
    """Return the scores on rows that the model never saw, and over other splits where there were some."""
    metrics = manifest.metrics
    if metrics is None:
        return "<p>Its manifest has no scores.</p>"
    tiles = []
    for name, value in metrics.held_out.items():
        spread = metrics.over_seeds
        over = f"{spread.mean[name]:.3f} ± {spread.deviation[name]:.3f} over {metrics.seeds} other splits"
        beside = f"<dd>{over if name in spread.mean else ''}</dd>"
        tiles.append(f'<div><dt>{escape(_SCORES.get(name, name))}</dt><dd class="large">{value:.3g}</dd>{beside}</div>')
    said = f"On {metrics.held_out_rows} rows that it never saw:"
    return f'<p>{said}</p><dl class="tiles">{"".join(tiles)}</dl>'


def _limits(manifest: Manifest) -> str:
    if not manifest.limits:
        return ""
    items = "".join(f"<li>{escape(each)}</li>" for each in manifest.limits)
    return f"<h3>What it is not for</h3><ul>{items}</ul>"
