"""HTML page of `GET /`, rendered from manifests: the whole document and its model part.

The page has no inline code and no content from other origins, so its content security policy can be strict. Scripts and
styles are files in `server/web/static`, served unchanged.
"""

from html import escape
from pathlib import Path
from string import Template
from typing import Final
from urllib.parse import quote

from server.models.manifest import Manifest
from server.models.repository import Repository
from server.rpc.services import typed_descriptor
from server.web.form import fields

WEB: Final = Path(__file__).parent / "static"
INDEX: Final = "index.html"
MAIN: Final = "main.html"
DOCS: Final = "docs.html"
"""Page of `/api/docs`, the same for all models: it reads the OpenAPI document."""
TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""Media type of each suffix of a static file."""
HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",  # revalidate cached files: the model can change, but file names do not
}
_MAX_LISTED_CLASSES: Final = 5
"""Maximum number of classes to list by name; above it the page states their number."""
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
    """Return the content of each static file by name."""
    return {name: (WEB / name).read_bytes() for name in _static_names()}


def _static_names() -> list[str]:
    return sorted(path.name for path in WEB.iterdir() if path.suffix in TYPES)


def document(repository: Repository, name: str) -> str:
    """Return the page of a model. Raises NotFound if it is not served."""
    manifest = repository.versions(name).default.manifest
    modules = (each for each in _static_names() if each.endswith(".js") and not each.startswith("docs"))
    return _template(INDEX).substitute(
        title=escape(f"{manifest.name}: {manifest.target}"),
        description=escape(manifest.description),
        preload="\n".join(f'<link rel="modulepreload" href="/web/{each}">' for each in modules),
        models=_models(repository, name),
        main=part(repository, name),
    )


def part(repository: Repository, name: str) -> str:
    """Return the main part of the page, the only part that depends on the model.

    Raises NotFound if the model is not served.
    """
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
        method=escape(f"{typed_descriptor.package(manifest)}.{typed_descriptor.service(manifest)}/Predict"),
        explained=" data-explained" if manifest.explained_rows else "",
        compared=" data-compared" if manifest.reference is not None else "",
        question=escape(manifest.description or f"{manifest.name}: predict {manifest.target}"),
        answers=escape(_prediction_text(manifest)),
        fields=fields(manifest),
        scores=_scores(manifest),
        limits=_limits(manifest),
        card=f'<li><a href="/api/models/{quoted}/card">The model card</a>: scores, limits and provenance</li>'
        if card is not None and card.exists()
        else "",
    )


def _template(name: str) -> Template:
    return Template((WEB / name).read_text())


def _models(repository: Repository, name: str) -> str:
    """Return links to the pages of all models; empty for a single model."""
    if len(repository.models) < 2:
        return ""
    links = []
    for each in repository.models:
        current = ' aria-current="page"' if each == name else ""
        links.append(f'<a href="/?model={quote(each, safe="")}"{current}>{escape(each)}</a>')
    return f'<nav class="models" aria-label="Models">{"".join(links)}</nav>'


def _prediction_text(manifest: Manifest) -> str:
    if manifest.kind == "regression":
        return f"The model predicts a number, {manifest.target}."
    classes = manifest.classes
    class_text = " or ".join(classes) if len(classes) <= _MAX_LISTED_CLASSES else f"one of {len(classes)} classes"
    return f"The model predicts {class_text}, with the probability of each."


def _scores(manifest: Manifest) -> str:
    """Return the scores on held-out rows, and over other splits if available."""
    metrics = manifest.metrics
    if metrics is None:
        return "<p>The manifest has no scores.</p>"
    tiles = []
    for name, value in metrics.held_out.items():
        spread = metrics.over_seeds
        spread_text = f"{spread.mean[name]:.3f} ± {spread.deviation[name]:.3f} over {metrics.seeds} other splits"
        spread_cell = f"<dd>{spread_text if name in spread.mean else ''}</dd>"
        tiles.append(
            f'<div><dt>{escape(_SCORES.get(name, name))}</dt><dd class="large">{value:.3g}</dd>{spread_cell}</div>'
        )
    intro = f"Scores on {metrics.held_out_rows} held-out rows:"
    return f'<p>{intro}</p><dl class="tiles">{"".join(tiles)}</dl>'


def _limits(manifest: Manifest) -> str:
    if not manifest.limits:
        return ""
    items = "".join(f"<li>{escape(each)}</li>" for each in manifest.limits)
    return f"<h3>Limits</h3><ul>{items}</ul>"
