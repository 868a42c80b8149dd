"""Many experts in one language model that learn from one another.

    import manyminds

    recipe = manyminds.load_recipe("recipes/demo.yaml")
    manyminds.warmup(recipe)
    result = manyminds.train(recipe)
    print(result.metrics["mean"])

Importing the package costs nothing: what needs torch is imported when it is first asked for.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyminds.compare import compare as compare
    from manyminds.config import load_recipe as load_recipe
    from manyminds.evaluate import evaluate as evaluate
    from manyminds.run import train as train
    from manyminds.warmup import warmup as warmup

__version__ = "0.1.0"
__all__ = ["__version__", "compare", "evaluate", "load_recipe", "train", "warmup"]

_HOMES = {
    "compare": "manyminds.compare",
    "evaluate": "manyminds.evaluate",
    "load_recipe": "manyminds.config",
    "train": "manyminds.run",
    "warmup": "manyminds.warmup",
}


def __getattr__(name: str) -> Any:
    """The public name `name`, from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """What `dir(manyminds)` shows: the names that are loaded, and those that would be."""
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `manyminds.compare` the function: importing a submodule would otherwise put the module in its place."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute, except a submodule over the public function of the same name."""
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
