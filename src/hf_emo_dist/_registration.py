"""Makes transformers' Auto classes and `pipeline` know the model after `import hf_emo_dist`, which does not load them.

Each of our modules registers its class when it is imported. This one sees to it that they are imported as soon as the
module of transformers is loaded that looks them up: at once where it is loaded already, else when the import that loads
it is through.
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)

_MODELING = f"{__package__}.modeling"
# ours, not imported yet → their module that looks it up
_PENDING = {
    f"{_MODELING}.{ours}": f"transformers.{theirs}"
    for ours, theirs in (
        ("configuration", "models.auto.configuration_auto"),
        ("processing", "models.auto.processing_auto"),
        ("model", "models.auto.modeling_auto"),
        ("pipeline", "pipelines"),
    )
}
_imports = threading.local()  # .depth: modules of transformers and of ours that are being executed in this thread


def _register() -> None:
    # one at a time: importing one of ours can load what another waits for
    while due := [ours for ours, theirs in _PENDING.items() if ours in sys.modules or theirs in sys.modules]:
        _PENDING.pop(due[0])
        try:
            importlib.import_module(due[0])
        except ImportError as error:  # without torch there is transformers, but no model
            logger.debug("%s is not registered: %s", due[0], error)


class _Loader(Loader):
    """The module's own loader, followed by our registration when no module that ours are built on is half imported."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # the module keeps its own loader: pickle, inspect and importlib.resources ask for it later
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        _imports.depth = getattr(_imports, "depth", 0) + 1
        try:
            self._loader.exec_module(module)
        finally:
            _imports.depth -= 1
        if _imports.depth == 0:
            _register()


class _Finder(MetaPathFinder):
    """Finds the modules of transformers and those of ours that use them as Python would, until all is registered."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if not _PENDING or not (fullname.partition(".")[0] == "transformers" or fullname.startswith(_MODELING)):
            return None
        for finder in sys.meta_path:
            spec = None if isinstance(finder, _Finder) else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


def register_when_transformers_loads() -> None:
    """Register with whatever part of transformers is loaded, and arrange for the rest."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    _register()
