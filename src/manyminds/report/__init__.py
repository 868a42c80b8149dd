"""What a run shows to people: one self-contained HTML page, and the tables and moments of the terminal.

`build(folder)` writes the page. Nothing here imports torch; matplotlib is imported when a figure is drawn.
"""

from __future__ import annotations

from manyminds.report.page import build

__all__ = ["build"]
