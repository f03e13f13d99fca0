"""Simulates a reader who follows a page: runs its commands, writes its files, compares the outputs."""

import json
import re
import shutil
import subprocess
import tomllib
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.contract.checkout import ROOT, check_out, environment
from tests.contract.pages import Block, blocks
from tests.edge.stack import Command

HUNG_S: Final = 180
"""Seconds after which a command that hangs is killed, so that the test fails instead of hanging."""
SERVER: Final = "127.0.0.1:8080"
EDGE: Final = ("https://lifeboat.<your subdomain>.workers.dev", "http://127.0.0.1:8787", "127.0.0.1:8787")
PLACEHOLDERS: Final = {"https://lifeboat.example": f"http://{SERVER}", "<you>": "you", "<id>": "an-id"}
OPTIONAL: Final = ("go", "grpcurl")
"""Programs that a machine may lack. Blocks that need one are skipped and named."""
_COMMENT: Final = r"\s*(?:#.*)?"
_STAYS: Final = re.compile(rf"(?:\w+=\S+ )*(?:make (?:run|edge)|\S*python -m server){_COMMENT}")
"""A command that runs until it is stopped, beside the rest of the page."""
_EXPORTS: Final = re.compile(rf"(?:\S*python -m export|\S*lifeboat-export) (?P<arguments>run\b[^#\n]*?){_COMMENT}")
"""A command that trains. It runs once per test run, for all pages."""
KEEPS_LABELS: Final = " --no-promote"
_FOLDER: Final = re.compile(r"--models (\S+)")


@dataclass
class Shared:
    """State that pages share: a server and an edge that no page changes, and the exported models."""

    folder: Path
    server: str
    stack: ExitStack
    edge: str = ""
    exported: dict[str, tuple[Path, str]] = field(default_factory=dict)

    def edge_address(self) -> str:
        """Return the address of the shared edge; the first call runs `make edge`."""
        if not self.edge:
            checkout = self.folder / "edge"
            checkout.mkdir()
            self.edge = start("make edge", check_out(checkout), self.stack)
        return self.edge


def start(line: str, folder: Path, stack: ExitStack) -> str:
    """Start a long-running command, stopped with `stack`; return the address in its output."""
    command = Command(["sh", "-c", f"cd '{folder}' && {line}"], environment(folder))
    stack.callback(command.stop)
    return command.wait_for(r"(?:running|Ready) on (http://\S+:\d+)")[1]


class Reader:
    """A reader of one page, in a separate checkout. Stores outputs for later comparison."""

    def __init__(self, folder: Path, shared: Shared, stack: ExitStack) -> None:
        """Read in `folder`; `stack` stops the programs that the page starts."""
        self.folder = check_out(folder)
        self.skipped: list[str] = []
        self._shared = shared
        self._stack = stack
        self._server = ""
        self._edge = ""
        self._secrets = ""
        self._environment = environment(folder)
        self._state = folder / ".build" / "shell"
        self._here = folder
        self._out = self._all = ""

    def read_page(self, page: Path) -> None:
        """Follow a page from its first block to its last. Raises AssertionError if a block fails."""
        for block in blocks(page):
            self.read(block)

    def read(self, block: Block) -> None:
        """Follow a block. Raises AssertionError if it fails or its output differs."""
        if block.kind == "answer":
            assert same(self._out if block.language else self._all, block), self._differs(block)
        elif block.kind == "typed":
            self._type(block)
        elif block.kind == "program":
            self._out = self._all = self._run(["python", "-c", self._addressed(block.text)], block)
        elif block.kind == "file":
            self._write(block)
        elif block.kind == "configuration":
            self._configure(block)
        else:
            assert block.kind, f"{block}: nothing runs it; tests/contract/test_snippets.py says how a block is run"

    def _type(self, block: Block) -> None:
        """Run the lines of a block; lines that stay running or train are handled one by one."""
        self._out = self._all = ""
        lines: list[str] = []
        for line in [*block.text.splitlines(), ""]:
            stays, exports = _STAYS.fullmatch(line), _EXPORTS.fullmatch(line)
            if (stays or exports or not line) and lines:
                self._shell("\n".join(lines), block)
                lines = []
            if stays:
                self._stay(line)
            elif exports:
                self._export(line, exports["arguments"], block)
            elif line:
                lines.append(line)

    def _shell(self, text: str, block: Block) -> None:
        """Run a text in the shell, with the directory and environment that the previous text left."""
        for program in OPTIONAL:
            asked = re.search(rf"^{program} ", text, re.MULTILINE)
            if asked and shutil.which(program, path=self._environment["PATH"]) is None:
                self.skipped.append(f"{block}, for want of {program}")
                return
        self._let_in()
        state = self._state
        begin = f". {state}\n" if state.exists() else ""
        script = f'{begin}set -ae\n{self._addressed(text)}\n{{ export -p; printf "cd \'%s\'\\n" "$PWD"; }} >{state}'
        self._out += self._run(["sh", "-c", script], block)

    def _run(self, command: list[str], block: Block) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=HUNG_S,
        )
        assert done.returncode == 0, (
            f"{block} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
        self._all += done.stdout + done.stderr
        return done.stdout

    def _stay(self, line: str) -> None:
        """Start a long-running server; the page's later requests go to it."""
        if "make edge" in line:
            self._edge = self._shared.edge_address()
        else:
            self._server = start(line, self.folder, self._stack)

    def _export(self, line: str, arguments: str, block: Block) -> None:
        """Train and publish, or copy the result of the same command on another page.

        With --no-promote the labels are restored.
        """
        named = _FOLDER.search(arguments)
        models = self.folder / (named[1] if named else "models")
        before = {path.relative_to(models): path.read_bytes() for path in models.rglob("*") if path.is_file()}
        key = f"{arguments.replace(KEEPS_LABELS, '')}: {sorted(before)}"
        if key not in self._shared.exported:
            self._out = ""
            self._shell(line.replace(KEEPS_LABELS, ""), block)
            kept = self._shared.folder / f"exported-{len(self._shared.exported)}"
            self._shared.exported[key] = Path(shutil.copytree(models, kept)), self._out
        kept, said = self._shared.exported[key]
        shutil.copytree(kept, models, dirs_exist_ok=True)
        if KEEPS_LABELS in arguments:
            (models / "titanic" / "history.json").unlink()
            (models / "titanic" / "labels.json").write_bytes(before[Path("titanic/labels.json")])
        self._out, self._all = said, said

    def _write(self, block: Block) -> None:
        """Write a file that a block shows. A file of the tree must be identical."""
        assert block.file
        if (ROOT / block.file).exists():
            assert (ROOT / block.file).read_text() == block.text, f"{block} is not {block.file}"
            return
        path = self._here / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._addressed(block.text))

    def _configure(self, block: Block) -> None:
        """Add a block to wrangler.toml; wrangler must accept the file and know every name in the block."""
        path = self.folder / "wrangler.toml"
        path.write_text(f"{path.read_text()}\n{block.text}")
        added = tomllib.loads(block.text)
        assert added.items() <= tomllib.loads(path.read_text()).items(), block
        self._run(["scripts/node", "npx", "wrangler", "deploy", "--dry-run", "--containers-rollout=none"], block)
        assert "Unexpected fields" not in self._all, f"{block}: {self._all}"

    def _addressed(self, text: str) -> str:
        """Replace the page's addresses by those of this machine's servers."""
        for written, meant in PLACEHOLDERS.items():
            text = text.replace(written, meant)
        if SERVER in text:
            here = self._server or self._shared.server
            text = text.replace(SERVER, here.removeprefix("http://"))
        for written in EDGE:
            if written in text:
                text = text.replace(written, self._edge_address().removeprefix("" if "//" in written else "http://"))
        return text

    def _edge_address(self) -> str:
        self._edge = self._edge or self._shared.edge_address()
        return self._edge

    def _let_in(self) -> None:
        """If the previous block set a secret, start an edge with it and update the shell."""
        secrets = self.folder / ".dev.vars"
        if secrets.exists() and secrets.read_text() != self._secrets:
            self._secrets = secrets.read_text()
            before, self._edge = self._edge_address(), start("make edge", self.folder, self._stack)
            self._state.write_text(self._state.read_text().replace(before, self._edge))

    def _differs(self, block: Block) -> str:
        return f"{block} shows\n{block.text}\nwhere there was\n{self._all}"


def same(said: str, block: Block) -> bool:
    """Return True if an output matches a block: JSON except white space, text except `...`."""
    if block.language == "json":
        return read_json(said) == read_json(block.text)
    shown = re.escape(block.text.strip()).replace(re.escape("..."), ".*")
    return re.fullmatch(shown, said.strip(), re.DOTALL) is not None


def read_json(text: str) -> object:
    """Return JSON with the order of its members and the spelling of its numbers."""
    return json.loads(text, object_pairs_hook=lambda pairs: pairs, parse_float=str, parse_int=str)
