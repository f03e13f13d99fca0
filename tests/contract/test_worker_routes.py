"""Tests that the Worker forwards exactly the server's paths and methods, apart from those that stay behind it."""

import json
import re
import subprocess
from typing import Final

import pytest
from starlette.routing import Route

from server.app import create_app
from server.models.repository import Repository
from server.settings import Settings
from tests.server.support.process import ROOT

_VALUES: Final = {"model": "titanic", "version": "1", "label": "stable", "name": "page.js"}
_ASSETS: Final = {"/", "/web/page.js", "/api/docs"}
"""Paths that Cloudflare serves as static assets before the Worker runs; it forwards `/api/docs` as well."""
_BEHIND: Final = {"/metrics", "/v2/repository/models/titanic/load", "/v2/repository/models/titanic/unload"}
"""Paths for operators, which the Worker never forwards."""
_ASK: Final = """
import { routeOf } from "./worker/http/routes.ts";
const paths = JSON.parse(process.argv[1]);
console.log(JSON.stringify(Object.fromEntries(paths.map((path) => [path, routeOf(path)?.methods ?? []]))));
"""


def _server() -> dict[str, set[str]]:
    """Return the methods of each path of the server, with example values in the templates."""
    app = create_app(Repository.load(ROOT / "models"), Settings())
    methods: dict[str, set[str]] = {}
    for route in app.routes:
        assert isinstance(route, Route)
        methods.setdefault(route.path.format(**_VALUES), set()).update(route.methods or ())
    return methods


def _worker(paths: list[str]) -> dict[str, set[str]]:
    """Return the methods that the Worker forwards for each path."""
    command = [str(ROOT / "scripts/node"), "node", "--input-type=module", "-e", _ASK, json.dumps(paths)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {path: set(methods) for path, methods in json.loads(answer).items()}


def test_the_worker_forwards_the_servers_paths() -> None:
    """The Worker forwards every public path with the server's methods, and none of the operators' paths."""
    server = _server()
    worker = _worker([*server])
    public = {path: methods for path, methods in server.items() if path not in _BEHIND | _ASSETS - {"/api/docs"}}
    assert {path: methods for path, methods in worker.items() if methods} == public


@pytest.mark.parametrize("path", ["/api/models/titanic/labels/stable/infer", "/v2/models/titanic/labels/stable"])
def test_paths_that_neither_has(path: str) -> None:
    """A path that the server does not have is not forwarded."""
    templates = {re.sub(r"{\w+}", "[^/]+", route) for route in _server()}
    assert not [each for each in templates if re.fullmatch(each, path)]
    assert _worker([path]) == {path: set()}
