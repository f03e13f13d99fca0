"""`python -m bench.pool`: simulate all cases and draw the results; with `draw`, only draw them."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = Path(__file__).with_name("results.json")
PICTURE: Final = ROOT / "docs" / "pool.svg"
SHOWN: Final = {
    "two choices": ("#0b6e4f", "o", "two choices (the Worker's)"),
    "round robin": ("#c17817", "s", "round robin"),
    "random": ("#a4243b", "^", "random"),
    "one instance": ("black", "x", "one instance"),
}


class Figures(msgspec.Struct, frozen=True, rename="camel"):
    """Results of one case, as simulate.ts prints them."""

    choice: str
    load: float
    requests: int
    p50_ms: float
    p99_ms: float
    instances: float
    usd_per_million: float


def main(arguments: list[str]) -> None:
    """Simulate, unless the argument is `draw`; then draw the results."""
    if arguments != ["draw"]:
        command = ["scripts/node", "node", "--experimental-strip-types", "--no-warnings", "bench/pool/main.ts"]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
        figures = msgspec.json.decode(done.stdout, type=list[Figures])
        RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")
    draw(msgspec.json.decode(RESULTS.read_bytes(), type=list[Figures]), PICTURE)


def draw(figures: list[Figures], path: Path) -> None:
    """Draw p99, instances and dollars against the load, one line for each algorithm."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "lifeboat"  # so that equal figures give an equal file
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    drawn = {
        "p99, milliseconds": "p99_ms",
        "instances awake": "instances",
        "dollars a million requests": "usd_per_million",
    }
    for axes, (title, name) in zip(panels, drawn.items(), strict=True):
        for choice, (colour, marker, label) in SHOWN.items():
            cases = [each for each in figures if each.choice == choice]
            loads, values = [each.load for each in cases], [getattr(each, name) for each in cases]
            axes.plot(loads, values, color=colour, marker=marker, markersize=4, linewidth=1.5, label=label)
        axes.set(xscale="log", yscale="log", xlabel="load, in instances at work all the time", title=title)
        axes.grid(visible=True, which="major", alpha=0.3)
    panels[0].legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1:])
