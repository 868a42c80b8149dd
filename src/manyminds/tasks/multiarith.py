"""MultiArith: two-step arithmetic word problems (Roy and Roth 2015, arXiv 1608.01413), each with its equation.

Its questions follow few templates; half of them are re-numbered copies of others.
"""

from __future__ import annotations

from dataclasses import replace

from manyminds.tasks import svamp
from manyminds.tasks.worded import loader

KIND = replace(
    svamp.KIND,
    name="multiarith",
    licence="CC BY 4.0 (MultiArith, as stated in the appendix of arXiv 2201.11903; its first release states none).",
)

multiarith = loader(KIND)
