"""Tables of names that a user may choose from, and the user's own code in their place as `module:Name`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from ._lazy import missing_extra


def resolve(name: str, table: Mapping[str, str], what: str, package: str) -> Any:
    """Find what a name stands for: an entry of a table or, as `module:Name`, the user's own code.

    Args:
        name: A key of `table`; or `module:Name`: a module, installed or in the current folder, and what it defines.
        table: Name to ``"submodule:attribute"``, the submodule relative to `package`.
        what: What is chosen, for error messages: ``"backend"``, ``"corpus"``.
        package: Full name of the package that has the submodules.

    Returns:
        The class, function or other object.

    Raises:
        ValueError: The name is not known; or its module does not exist, cannot be imported, or does not have the
            attribute.
        ModuleNotFoundError: A name of the table needs an extra that is not installed; the message names it.
    """
    mend = f"Mend: one of {', '.join(map(repr, table))}, or 'module:Name' of your own code."
    if not isinstance(name, str):
        raise ValueError(f"The name of the {what} must be a string, got {name!r}. {mend}")
    if name in table:
        module, _, attribute = table[name].partition(":")
        try:
            return attrgetter(attribute)(importlib.import_module(f".{module}", package))
        except ModuleNotFoundError as error:
            clear = missing_extra(f"{package.removeprefix('hf_emo_dist.')}.{module}", error)
            if clear is error:
                raise
            raise clear from error
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"Unknown {what} {name!r}. {mend}")
    subject = f"{what[:1].upper()}{what[1:]} {name!r}"
    if not all(part.isidentifier() for part in [*module.split("."), *attribute.split(".")]):
        raise ValueError(f"{subject} is not of the form 'module:Name'. {mend}")
    # A console script has its own folder in sys.path and not the current one. It goes to the end, so that nothing in it
    # hides an installed package, and stays there, since worker processes import from it, too.
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    importlib.invalidate_caches()  # for a file that was written while this process runs
    try:
        return attrgetter(attribute)(importlib.import_module(module))
    except AttributeError as error:
        if module not in sys.modules:  # raised while the module was executed, not by looking into it
            raise _broken(subject, module, error) from error
        where = getattr(sys.modules[module], "__file__", None) or "built in"
        raise ValueError(
            f"{subject}: module {module!r} ({where}) has no {attribute!r}. Mend: give a name that it defines."
        ) from error
    except Exception as error:
        # `error.name` is the module itself or a package on the way to it; else it is something that the module imports
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise ValueError(
                f"{subject}: there is no module {module!r}, neither installed nor in {os.getcwd()}. {mend}"
            ) from error
        raise _broken(subject, module, error) from error


def _broken(subject: str, module: str, error: Exception) -> ValueError:
    return ValueError(
        f"{subject}: module {module!r} cannot be imported ({type(error).__name__}: {error}). "
        f"Mend: see that `python -c 'import {module}'` works."
    )
