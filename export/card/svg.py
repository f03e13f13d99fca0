"""Convert matplotlib figures to inline SVG, the same bytes each time."""

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from export.card.formatting import shorten
from export.card.html import Markup, element

INK: Final = "#000001"
MUTED: Final = "#000002"
GRID: Final = "#000003"
SERIES: Final = ("#000011", "#000012", "#000013", "#000014", "#000015")
"""Placeholder colours: each becomes a CSS variable with values for light, dark and print."""
_VARIABLES: Final = {INK: "--ink", MUTED: "--muted", GRID: "--grid"} | {
    colour: f"--series-{index}" for index, colour in enumerate(SERIES)
}
MARKS: Final = "oDs"
"""Matplotlib markers: dot, diamond, square."""
_MARKS: Final = {"o": "M9 5a4 4 0 1 0 8 0a4 4 0 1 0-8 0", "D": "M13 0L18 5L13 10L8 5Z", "s": "M9 1H17V9H9Z"}
_DASHES: Final[Sequence[tuple[float, ...]]] = ((), (5, 2), (1.5, 1.5))
"""Dash patterns of the lines, for readers who can't distinguish the colours."""
_TEXT: Final = 8.4
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "card",
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "font.size": _TEXT,
    "axes.labelsize": _TEXT,
    "xtick.labelsize": _TEXT,
    "ytick.labelsize": _TEXT,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
}


def line(index: int) -> dict[str, Any]:
    """Return the colour and dashes of the series at `index`."""
    dashes = _DASHES[index % len(_DASHES)]
    return {"color": SERIES[index % len(SERIES)], "linestyle": (0, dashes) if dashes else "solid"}


def key(names: Sequence[str], *, marks: bool = False) -> Markup:
    """Return a legend: each name with its line or mark."""
    items = []
    for index, name in enumerate(names):
        colour = f"var(--series-{index % len(SERIES)})"
        if marks:
            symbol = element("path", d=_MARKS[MARKS[index % len(MARKS)]], fill=colour)
        else:
            dashes = " ".join(f"{length * 1.6:g}" for length in _DASHES[index % len(_DASHES)])
            symbol = element("path", d="M0 5H26", stroke_width="3", stroke=colour, stroke_dasharray=dashes or "none")
        box = "8 0 10 10" if marks else "0 0 26 10"
        items.append(element("li", element("svg", symbol, viewBox=box, aria_hidden="true"), shorten(name, 40)))
    return element("ul", *items, class_="key")


def plot(draw: Callable[[Axes], None], label: str, width: float = 3.5, height: float = 2.7) -> Markup:
    """Return a picture with one pair of axes, drawn by `draw`; sizes are in inches."""
    return picture(lambda figure: draw(figure.subplots()), label, width, height)


def picture(draw: Callable[[Figure], None], label: str, width: float = 3.5, height: float = 2.7) -> Markup:
    """Return what `draw` draws on a figure; `label` describes it for screen readers."""
    output = io.StringIO()
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the browser renders the text with its own fonts
        mpl.rcdefaults()  # ignore the matplotlibrc file of the machine
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        draw(figure)
        for axes in figure.axes:
            axes.patch.set_visible(False)
        figure.savefig(output, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _inline(output.getvalue(), label, width * 72, height * 72)


def _inline(svg: str, label: str, width: float, height: float) -> Markup:
    """Return inline SVG from an SVG file.

    Removes unused ids, the style sheet and invisible decimal places.
    """
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'style="([^"]*)"', _restyle, body)
    body = re.sub(r'\b(?:d|x|y|transform)="[^"]*"', _round, body)
    used_ids = set(re.findall(r'(?:url\(|href=")#([\w-]+)', body))
    id_prefix = hashlib.blake2b((label + body).encode(), digest_size=4).hexdigest()
    body = re.sub(
        r' id="([^"]*)"', lambda match: f' id="p{id_prefix}-{match[1]}"' if match[1] in used_ids else "", body
    )
    body = re.sub(r'(url\(|href=")#', rf"\1#p{id_prefix}-", body).replace("xlink:href", "href")
    body = re.sub(r">\s+<", "><", body).replace("<defs></defs>", "")
    return element(
        "svg",
        Markup(body.strip()),
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=label,
        class_="picture",
        style=f"max-width:{width * 1.5:.0f}px",
    )


def _restyle(match: re.Match[str]) -> str:
    style = re.sub(r"font: ([\d.]+)px [^;]*", r"font-size: \1px", match[1])
    for colour, variable in _VARIABLES.items():
        style = style.replace(colour, f"var({variable})")
    return f'style="{style}"'


def _round(match: re.Match[str]) -> str:
    return re.sub(r"-?\d+\.\d+", lambda each: f"{float(each[0]):.2f}".rstrip("0").rstrip("."), match[0])
