"""Tests of the programs on the page about clients, with a server that rejects their first request."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.contract.checkout import ROOT, check_out, environment
from tests.contract.pages import blocks

PROGRAMS: Final = {"client.py": "python", "client.ts": "node", "client.go": "go run"}
PAGE: Final = ROOT / "docs" / "how-to" / "clients.md"
SHOWN: Final = {block.file: block.text for block in blocks(PAGE) if block.file}
STRICT: Final = (
    "--ignoreConfig --noEmit --strict --target es2022 --module nodenext --lib es2023,dom --types ''"
    " --allowImportingTsExtensions --skipLibCheck --preserveSymlinks"
)
SAID: Final = "survived 0.8347\ninvalid_argument: age: expected a number from 0 to 120 or null; got -3\n"


class Front(ThreadingHTTPServer):
    """A proxy of the server that rejects the first request and forwards the others."""

    def __init__(self, server: httpx.Client, status: int) -> None:
        """Reject the first request with `status`."""
        super().__init__(("127.0.0.1", 0), Call)
        self.server = server
        self.status = status
        self.deadlines: list[str | None] = []


class Call(BaseHTTPRequestHandler):
    """One request to the proxy."""

    server: Front

    def do_POST(self) -> None:
        """Reject the first request; forward the others."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.deadlines.append(self.headers["x-request-timeout-ms"])
        if len(self.server.deadlines) == 1:
            self._answer(self.server.status, b'{"error":"busy","code":"unavailable"}', {"retry-after": "0"})
            return
        given = self.server.server.post(self.path, content=body)
        self._answer(given.status_code, given.content, {"content-type": given.headers["content-type"]})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"content-length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the library's name
        """Log nothing."""


@pytest.fixture(params=[429, 503])
def front(server: httpx.Client, request: pytest.FixtureRequest) -> Iterator[Front]:
    """Yield a proxy that rejects the first request with 429 or 503."""
    with Front(server, request.param) as front:
        thread = threading.Thread(target=front.serve_forever)
        thread.start()
        yield front
        front.shutdown()
        thread.join()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_refused_call_is_made_again(tmp_path: Path, front: Front, name: str) -> None:
    """Each program waits, retries with its deadline, and doesn't retry an invalid request."""
    program, *options = PROGRAMS[name].split()
    if program == "go" and shutil.which("go") is None:
        pytest.skip("go is missing")
    check_out(tmp_path)
    (tmp_path / name).write_text(SHOWN[name].replace("127.0.0.1:8080", f"127.0.0.1:{front.server_port}"))
    done = subprocess.run(
        [shutil.which(program, path=environment(tmp_path)["PATH"]) or program, *options, name],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == SAID, done.stderr
    assert front.deadlines == ["1000"] * 3


@pytest.mark.parametrize(("right", "wrong", "error"), [("", "", None), ('"female"', "1", "typed.ts(9,")])
def test_the_typescript_is_typed(
    tmp_path: Path, server: httpx.Client, right: str, wrong: str, error: str | None
) -> None:
    """The compiler accepts both programs, and reports a wrong type in a record."""
    folder = check_out(tmp_path)
    (folder / "service.proto").write_text(server.get("/api/models/titanic/service.proto").text)
    (folder / "client.ts").write_text(SHOWN["client.ts"])
    (folder / "typed.ts").write_text(SHOWN["typed.ts"].replace(right, wrong))
    (protoc,) = [line for line in PAGE.read_text().splitlines() if "grpc_tools.protoc" in line]
    compiled = f"{protoc} && node_modules/.bin/tsc {STRICT} client.ts typed.ts"
    done = subprocess.run(
        ["sh", "-c", compiled], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == (error is None), done.stdout
    assert error is None or error in done.stdout


def test_every_program_is_tried() -> None:
    """The test runs every program on the page, except the typed client, whose library retries differently."""
    assert {*SHOWN} == {*PROGRAMS, "typed.ts"}
