"""What an annotator is made of, from its arguments: a backend by its name, prompts, and a panel that fits the model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .capabilities import DEFAULT_GEMINI_MODEL, PAPER_GEMINI_MODEL
from .panel import default_panel, describe_panel, panel_from, paper_panel, without_temperature
from .prompts import PromptSet, default_prompts, load_prompts, paper_prompts
from .types import MODES, Backend, PanelMember

__all__ = ["BACKENDS", "choose_members", "choose_prompts", "make_backend"]

logger = logging.getLogger(__name__)

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
        if model is None:
            raise ValueError(
                "The openai backend needs the name of a model. Mend: OpenAIBackend('gpt-audio'), or --model gpt-audio."
            )
        from .backends.openai import OpenAIBackend

        return OpenAIBackend(model, **options)
    if name == "simulated":
        from .backends.simulated import SimulatedBackend

        if model is not None:
            raise ValueError("The simulated backend has no choice of models. Mend: leave `model` out.")
        return SimulatedBackend(**options)
    raise ValueError(f"`backend` must be one of {', '.join(map(repr, BACKENDS))} or an instance, got {name!r}.")


def choose_prompts(prompts: str | Path | PromptSet | None, preset: str) -> PromptSet:
    """The prompts that were given, read from their file, or those of the preset."""
    if isinstance(prompts, PromptSet):
        return prompts
    if prompts is not None:
        return load_prompts(prompts)
    return paper_prompts() if preset == "paper" else default_prompts()


def choose_members(
    backend: Backend,
    prompts: PromptSet,
    preset: str,
    panel: Sequence[PanelMember | Mapping[str, Any]] | None,
    num_annotations: int,
    num_distributions: int,
    seed: int,
) -> tuple[PanelMember, ...]:
    """The panel for a model: what it does not honour is left out, and is said.

    Raises:
        ValueError: The panel is empty or wrong, or the prompts ask no question in a mode that it has.
    """
    honours = backend.capabilities.temperature
    if panel is None and preset == "default":
        wordings = min(prompts.wordings(mode) for mode in MODES if prompts.wordings(mode))
        members = default_panel(num_annotations, num_distributions, honours, wordings)
        if not honours:
            logger.info(
                "%s does not honour temperature: annotators differ in focus and wording (%s)",
                backend.model,
                describe_panel(members),
            )
    else:
        members = paper_panel(num_annotations, seed) if panel is None else panel_from(panel)
        if not honours and any(member.temperature is not None for member in members):
            members = without_temperature(members, prompts)
            logger.warning(
                "%s does not honour temperature, so none is sent, and annotators differ in focus and wording alone%s",
                backend.model,
                ": this is not the paper's panel" if panel is None else "",
            )
    for member in members:
        if not prompts.wordings(member.mode):
            raise ValueError(
                f"The prompts ask no question in {member.mode} mode, and the panel has such annotators. "
                f"Mend: give '{member.mode}' in the prompt file, or change the panel."
            )
    warn_if_retired(backend)
    return members


def warn_if_retired(backend: Backend) -> None:
    """Says when a model is gone, or will be."""
    capabilities = backend.capabilities
    if capabilities.retired_on is None or backend.destination is None:
        return
    gone = "was retired" if capabilities.is_retired(datetime.now(UTC).date()) else "will be retired"
    logger.warning(
        "%s %s on %s; from then on %s may answer its name. Such a reply stops the run and is no vote.",
        backend.model,
        gone,
        capabilities.retired_on,
        capabilities.replaced_by or "another model",
    )
