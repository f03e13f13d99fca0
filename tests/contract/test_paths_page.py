"""Tests that the page on paths has exactly the server's routes, and the RPC page every method."""

import re
from pathlib import Path
from typing import Final

import pytest
from google.protobuf.descriptor import FileDescriptor
from starlette.routing import Route

from server.app import create_app
from server.models.repository import Repository
from server.rpc.proto import health_pb2, inference_pb2, reflection_pb2
from server.settings import Settings

ROOT: Final = Path(__file__).parents[2]
_LINE: Final = re.compile(r"^\| (`[A-Z`, ]+) \| (`/.*`) \| .+ \|$", re.MULTILINE)
_OPTIONAL: Final = re.compile(r"\[([^\[\]]*)\]")


def ways(path: str) -> set[str]:
    """Return the paths that a pattern stands for, with and without each part in brackets."""
    group = _OPTIONAL.search(path)
    if group is None:
        return {path}
    choices = ["", *group[1].split("|")]
    return {way for choice in choices for way in ways(path[: group.start()] + choice + path[group.end() :])}


def written() -> set[str]:
    """Return each method and path on the page."""
    page = (ROOT / "docs" / "reference" / "paths.md").read_text().replace("\\|", "|")
    return {
        f"{method} {way}"
        for methods, paths in _LINE.findall(page)
        for method in re.findall(r"\w+", methods)
        for path in re.findall(r"`([^`]+)`", paths)
        for way in ways(path)
    }


def routed() -> set[str]:
    """Return each method and path of the server's routes, without HEAD."""
    app = create_app(Repository.load(ROOT / "models"), Settings())
    routes = [each for each in app.routes if isinstance(each, Route)]
    return {f"{method} {each.path}" for each in routes for method in (each.methods or set()) - {"HEAD"}}


def test_every_route_is_on_the_page() -> None:
    """The page has exactly the server's routes."""
    assert routed() == written()


@pytest.mark.parametrize(
    "file", [inference_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR], ids=lambda file: file.name
)
def test_every_call_is_on_the_page(file: FileDescriptor) -> None:
    """The RPC page has each public service and each method, except reflection's only one."""
    page = (ROOT / "docs" / "reference" / "rpc.md").read_text()
    for service in file.services_by_name.values():
        assert f"`{service.full_name}`" in page
        for method in service.methods:
            assert f"`{method.name}`" in page or service.name == "ServerReflection", method.full_name


def test_what_brackets_mean() -> None:
    """Brackets may nest, and a bar separates alternatives."""
    assert ways("/a[/b[/c|/d]]/e") == {"/a/e", "/a/b/e", "/a/b/c/e", "/a/b/d/e"}
