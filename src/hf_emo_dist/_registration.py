"""Makes transformers' Auto classes know the model after `import hf_emo_dist`, without that import loading transformers.

Each of our modules registers its class when it is imported. This one sees to it that they are imported as soon as the module of
transformers is that looks them up: at once where it is loaded already, else right after it has been executed.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)

_MODELING = f"{__package__}.modeling"
_AUTO, _QWEN = "transformers.models.auto", "transformers.models.qwen2_audio"
# ours → their module that looks it up, and the ones that ours is built on
_WAITS_FOR = {
    f"{_MODELING}.configuration": (f"{_AUTO}.configuration_auto", f"{_QWEN}.configuration_qwen2_audio"),
    f"{_MODELING}.processing": (f"{_AUTO}.processing_auto", f"{_QWEN}.processing_qwen2_audio"),
    f"{_MODELING}.modeling": (f"{_AUTO}.modeling_auto", f"{_QWEN}.modeling_qwen2_audio"),
}
_WATCHED = frozenset(name for names in _WAITS_FOR.values() for name in names)


def _register(loaded: str) -> None:
    for ours, theirs in _WAITS_FOR.items():
        # A module that is being imported right now will register by itself when it is through.
        if loaded in theirs and theirs[0] in sys.modules and ours not in sys.modules:
            try:
                importlib.import_module(ours)
            except ImportError as error:
                # Qwen2-Audio's own module is still being imported (it loads the auto module first): its end comes here again.
                logger.debug("%s is registered later: %s", ours, error)


class _Loader(Loader):
    """The module's own loader, followed by our registration."""

    def __init__(self, loader: Loader, name: str) -> None:
        self._loader, self._name = loader, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _register(self._name)


class _Finder(MetaPathFinder):
    """Finds the watched modules as Python would, and nothing else."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if fullname not in _WATCHED:
            return None
        for finder in sys.meta_path:
            spec = None if isinstance(finder, _Finder) else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader, fullname)
                return spec
        return None


def register_when_transformers_loads() -> None:
    """Registers with whatever part of transformers is loaded, and arranges for the rest."""
    for name in sorted(_WATCHED & sys.modules.keys()):
        _register(name)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
