"""A backend by its name."""

from __future__ import annotations

from typing import Any

from .capabilities import DEFAULT_GEMINI_MODEL, PAPER_GEMINI_MODEL
from .types import Backend

__all__ = ["BACKENDS", "make_backend"]

#: The names that `make_backend` knows.
BACKENDS = ("gemini", "openai", "simulated")


def make_backend(name: str, preset: str = "default", model: str | None = None, **options: Any) -> Backend:
    """Make a backend.

    Args:
        name: One of :data:`BACKENDS`.
        preset: ``"paper"`` asks the paper's model where none is named.
        model: The model; needed for ``"openai"``.
        options: Further arguments of the backend's class.

    Raises:
        ValueError: The name is not known, or the model is missing.

    Example:
        >>> make_backend("gemini", preset="paper").model
        'gemini-2.5-pro'
    """
    if name == "gemini":
        from .backends.gemini import GeminiBackend

        return GeminiBackend(model or (PAPER_GEMINI_MODEL if preset == "paper" else DEFAULT_GEMINI_MODEL), **options)
    if name == "openai":
        from .backends.openai import OpenAIBackend

        if model is None:
            raise ValueError("The openai backend needs the name of a model. Mend: OpenAIBackend('gpt-audio'), or --model gpt-audio.")
        return OpenAIBackend(model, **options)
    if name == "simulated":
        from .backends.simulated import SimulatedBackend

        if model is not None:
            raise ValueError("The simulated backend has no choice of models. Mend: leave `model` out.")
        return SimulatedBackend(**options)
    raise ValueError(f"`backend` must be one of {', '.join(map(repr, BACKENDS))} or an instance, got {name!r}.")
