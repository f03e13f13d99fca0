"""SHA256SUMS: a version with changed bytes is not served."""

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from server.errors import DigestError, ModelError
from server.models.repository import Repository
from server.models.session import Model
from server.settings import Settings
from tests.server.models.test_reload import answer, load, states
from tests.server.support import small
from tests.server.support.in_process import InProcess
from tests.server.support.repositories import TOKEN, label, publish

COMMITTED: Final = Path(__file__).parents[3] / "models" / "titanic" / "1"
FLIPS: Final = 300
CARD: Final = "/api/models/small/card"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with versions 1 (stable) and 2, each with a card and digests."""
    for version in (1, 2):
        folder = publish(tmp_path, version)
        (folder / "card.html").write_text("a card")
        (folder / "SHA256SUMS").touch()
        small.digest(folder)
    label(tmp_path, stable=1)
    return tmp_path


@pytest.fixture
def app(root: Path) -> Iterator[InProcess]:
    """Yield an app of the repository with model control."""
    with InProcess(Repository.load(root), Settings(admin_token=TOKEN)) as served:
        yield served


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum")
def test_sha256sum_reads_it() -> None:
    """`sha256sum --check` accepts the committed version."""
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=COMMITTED, check=False)
    assert done.returncode == 0
    assert Model.load(COMMITTED).has_digest_file


def test_no_changed_bit_is_served(root: Path) -> None:
    """One changed bit in any file of a version makes its load fail."""
    folder = root / "small" / "1"
    draw = random.Random(1912)  # noqa: S311 # the same bits in each run
    for name in ("manifest.json", "model.onnx", "SHA256SUMS"):
        path = folder / name
        good = path.read_bytes()
        start = good.index(b"\n") if name == "SHA256SUMS" else 0  # the first line is the card's
        bits = range(8 * start, 8 * len(good))
        for bit in bits if len(bits) <= FLIPS else draw.sample(bits, FLIPS):
            changed = bytearray(good)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            with pytest.raises(ModelError):
                Model.load(folder)
        path.write_bytes(good)
    assert Model.load(folder).has_digest_file


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("model.onnx", "model.xnnx"), "expected a line for model.onnx"),
        (lambda text: text.replace("manifest", "manifesto"), "expected a line for manifest.json"),
        (lambda text: text + text, "line 4: expected a SHA-256 in hexadecimal and the name of a file"),
        (lambda text: text.replace("  ", " *"), "line 1: expected a SHA-256"),
        (lambda text: text.replace("  model", "  ../model"), "line 3: expected a SHA-256"),
        (lambda text: text.replace("\n", "\r\n"), "line 1: expected a SHA-256"),
        (lambda text: text.rstrip(), "expected a line end after the last line"),
        (lambda _: "", "expected a line for manifest.json"),
        (lambda text: text + "x" * 70_000, "expected at most 65536 bytes"),
    ],
)
def test_a_malformed_file(root: Path, change: object, words: str) -> None:
    """A malformed digest file is rejected with its name."""
    path = root / "small" / "1" / "SHA256SUMS"
    assert callable(change)
    path.write_text(change(path.read_text()))
    with pytest.raises(DigestError, match="SHA256SUMS: ") as refused:
        Model.load(path.parent)
    assert words in str(refused.value)


def test_a_changed_digest_is_seen(app: InProcess, root: Path) -> None:
    """A reload notices a change of only the digest file; the loaded version stays served."""
    path = root / "small" / "2" / "SHA256SUMS"
    good = path.read_bytes()
    path.write_bytes(good.replace(b"model.onnx", b"model.other"))
    assert load(app) == (200, "")
    assert states(app)["small", "2"] == (
        "READY",
        "model 'small' version 2: SHA256SUMS: expected a line for model.onnx",
    )
    assert answer(app, "/api/models/small/versions/2/predict") == ("2", 2.0)
    path.write_bytes(good)
    assert load(app) == (200, "")
    assert states(app)["small", "2"] == ("READY", "")


def test_a_changed_card(app: InProcess, root: Path) -> None:
    """A card that differs from its digest is not shown; predictions continue."""
    assert app.get(CARD).text == "a card"
    (root / "small" / "1" / "card.html").write_text("another")
    assert app.get(CARD).status_code == 404
    assert answer(app) == ("1", 2.0)
    assert load(app) == (200, "")
