"""Which modules may import which, and which modules the server process must not load."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_import_contracts() -> None:
    """Imports point downward only, as the contracts in pyproject.toml say."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    linted = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout
    assert "0 broken" in linted.stdout


def test_server_holds_no_training_code() -> None:
    """The server imports no training code, neither directly nor through another module."""
    code = (
        "import sys, server.app, server.models.repository, uvicorn;"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    modules = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    held = set(modules.stdout.split())
    assert {"server", "onnxruntime", "starlette"} <= held
    assert not held & {"export", "sklearn", "skl2onnx", "onnx", "pandas", "scipy"}


def test_a_start_loads_no_calls() -> None:
    """A start loads no modules of RPC or HTTP/2; first use or the setting does."""
    code = (
        "import sys; from pathlib import Path; from server.app import create_app;"
        "from server.http.http1 import protocol;"
        "from server.models.repository import Repository; from server.settings import Settings;"
        "app = create_app(Repository.load(Path('models')), Settings());"
        "shared = app.fast_path_handlers, app.draining, app.held;"
        "protocol(*shared, Settings(), app.rpc.reject); print(*sys.modules, end=' | ');"
        "app.rpc.load(); protocol(*shared, Settings(http2=True), app.rpc.reject);"
        "print(*sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    before, after = (set(names.split()) for names in printed.split(" | "))
    late = {"google.protobuf.descriptor", "zttp", "server.rpc.app", "server.http.http2"}
    assert not late & before
    assert late <= after


def test_a_start_loads_no_tables() -> None:
    """A start loads no modules of file formats, pages or metrics; first use does."""
    code = (
        "import sys; from pathlib import Path; from server.app import create_app;"
        "from server.http.http1 import protocol;"
        "from server.models.repository import Repository; from server.settings import Settings; import server.__main__;"
        "app = create_app(Repository.load(Path('models')), Settings());"
        "protocol(app.fast_path_handlers, app.draining, app.held, Settings(), app.rpc.reject); print(*sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    held = set(printed.split())
    late = {
        "arro3",
        "nanoarrow",
        "backports.zstd",
        "tqdm",
        "csv",
        "server.batch.options",
        "server.batch.job",
        "server.batch.pipes",
    }
    late |= {
        "server.inference.explain.explainer",
        "server.inference.explain.shapley",
        "server.models.watcher",
        "server.telemetry.metrics",
        "server.rest.card",
        "prometheus_client",
    }
    late |= {"server.rest.pages", "server.web.page", "server.web.form"}
    late |= {
        "server.rest.openapi",
        "server.rest.openapi.schemas",
        "server.inference.drift.monitor",
        "server.inference.drift.histogram",
        "server.inference.drift.psi",
    }
    late |= {"server.telemetry.middleware", "server.telemetry.access_log", "server.telemetry.tracing", "opentelemetry"}
    assert not late & held
