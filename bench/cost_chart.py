"""Chart of docs/cost.md: a month's bill against requests per day."""

from pathlib import Path
from typing import Final

import numpy as np

from bench.cost import BASIC, kept_warm_usd, load_of, scale_to_zero_usd
from bench.results import Results

SHOWN: Final = {
    "fastapi-joblib": "#a4243b",
    "fastapi-onnxruntime": "#c17817",
    "lifeboat": "#0b6e4f",
}
OURS: Final = "lifeboat"
SLEEP_AFTER_S: Final = 600


def draw(results: Results, path: Path) -> None:
    """Draw the bill of this server and of common FastAPI servers, kept warm.

    For this server, also draw the bill with sleeping instances.
    """
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "lifeboat"  # so that equal figures give an equal file
    from matplotlib import pyplot as plt

    requests = np.logspace(0, 7.5, 400)
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, colour in SHOWN.items():
        if name in results.rows:
            load, label = load_of(results, name), results.rows[name].label.partition(" `")[0]
            warm = [kept_warm_usd(load, each) for each in requests]
            axes.plot(requests, warm, color=colour, linewidth=2, label=f"{label}, kept warm")
    idle = [scale_to_zero_usd(load_of(results, OURS), each, SLEEP_AFTER_S) for each in requests]
    axes.plot(requests, idle, color="black", linestyle="--", label="Lifeboat, asleep after 10 idle minutes")
    axes.set(xscale="log", yscale="symlog", ylim=(0, 2000), xlabel="requests a day", ylabel="dollars a month")
    axes.set_title(f"A month on {BASIC.name}, by Cloudflare's prices and the CPU measured here", fontsize=10)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
