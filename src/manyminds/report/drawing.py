"""How a figure becomes part of the page: an SVG text that takes its colours and font from there.

Drawn with matplotlib in marker colours; `inline` turns those into the page's CSS variables, so that one drawing serves
the light and the dark page, and takes out everything that names another place. One unit of the drawing is one CSS
pixel at full width.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from manyminds.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXPERTS = 6
INK, MUTED, RULE, PLAIN_INK, ACCENT, PAGE = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
MARKED = {INK: "ink", MUTED: "muted", RULE: "rule", PLAIN_INK: "plain", ACCENT: "accent", PAGE: "page"} | {
    f"#0100{i:02x}": f"expert-{i}" for i in range(EXPERTS)
}
LEGIBLE = 640
"""Below so many CSS pixels a figure is scrolled, not shrunk."""
WIDTH = 1120.0


def canvas(rows: int, columns: int, height: float, width: float = WIDTH) -> tuple[Figure, list[list[Axes]]]:
    """A figure of `width` x `height` CSS pixels with a grid of panels that share the y-axis of their row."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise UserError(
            'The report draws its figures with matplotlib, which is not installed: pip install "manyminds[demo]".'
        ) from None
    figure = Figure(figsize=(width / 72, height / 72), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    grid = figure.subplots(rows, columns, squeeze=False, sharey="row")
    panels = [list(row) for row in grid]
    for axes in (axes for row in panels for axes in row):
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(MUTED)
        axes.grid(True, axis="y", color=RULE, linewidth=1)
        axes.set_axisbelow(True)
        axes.tick_params(color=MUTED, labelcolor=MUTED, labelsize=11.5, length=0)
        axes.xaxis.label.set(color=MUTED, fontsize=12)
        axes.yaxis.label.set(color=MUTED, fontsize=12)
        axes.margins(x=0.02)
    return figure, panels


def heading(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", color=INK, fontsize=13.5, fontweight="bold", pad=10)


def inline(figure: Figure, name: str) -> str:
    """The figure as an inline <svg>: page colours, page font, ids under `name`, and no reference to any address."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"| (width|height)="[\d.]+pt"', "", svg)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'font-family: [^;"]*', "font-family: var(--sans)", svg)
    svg = re.sub(r'(font: [^;"]*?[\d.]+px) [^;"]*', r"\1 var(--sans)", svg)
    for marked, variable in MARKED.items():
        svg = svg.replace(marked, f"var(--{variable})")
    width = round(72 * figure.get_figwidth())
    return svg.strip().replace(
        "<svg", f'<svg role="img" style="max-width: {width}px; min-width: {min(width, LEGIBLE)}px"', 1
    )
