"""A user's own code, named in a recipe as `module:Name`."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from manyminds.errors import UserError


def find(name: str, key: str) -> Any:
    """What `module:Name` names; modules are looked for as Python does, and in the working folder.

    Raises UserError, naming the recipe's `key`, if there is no such module, if it fails, or if it has no such name.
    """
    module, _, attribute = name.partition(":")
    found = getattr(_module(module, name, key), attribute, None)
    if found is None:
        raise UserError(f"{key}: {name!r}: the module {module!r} has no {attribute!r}.")
    return found


def _module(module: str, name: str, key: str) -> Any:
    folder = os.getcwd()
    looked_there = folder in sys.path or "" in sys.path
    if not looked_there:
        sys.path.append(folder)
    try:
        return importlib.import_module(module)
    except UserError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and module.split(".")[: error.name.count(".") + 1] == error.name.split("."):
            raise UserError(
                f"{key}: {name!r}: there is no module {module!r}, neither installed nor in the working folder."
            ) from error
        raise UserError(f"{key}: {name!r}: its module wants {error.name!r}, which is not installed.") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"{key}: {name!r}: its module fails with {type(error).__name__}: {error}") from error
    finally:
        if not looked_there:
            sys.path.remove(folder)
