"""The services that answer, one file each, behind the protocol `annotation.types.Backend`; one is made by its name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..._lazy import lazy_attributes
from ..._tables import resolve
from ..types import Backend

#: Name to file and class, one line a service.
BACKENDS = {
    "gemini": "gemini:GeminiBackend",
    "openai": "openai:OpenAIBackend",
    "simulated": "simulated:SimulatedBackend",
    "transformers": "transformers:TransformersBackend",
}
_NAMES = {name: module for module, name in (entry.split(":") for entry in BACKENDS.values())}
__all__ = ["BACKENDS", "BackendChoice", "make_backend", *_NAMES]
__getattr__ = lazy_attributes(__name__, _NAMES)


def make_backend(
    name: str, model: str | None = None, preset: str = "default", options: Mapping[str, Any] | None = None
) -> Backend:
    """Make a backend by its name; what it may be told is what its class takes.

    Args:
        name: One of :data:`BACKENDS`, or ``module:Name`` of a class (or a function that makes one) of the user's own.
        model: The model to ask. Default: the preset's where the class has `preset_models`, else the class's own.
        preset: ``"default"`` or ``"paper"``.
        options: Further arguments of the class.

    Raises:
        ValueError: The name is not known, an argument is missing or does not fit, or what was made is no backend.

    Example:
        >>> make_backend("gemini", preset="paper").model
        'gemini-2.5-pro'
        >>> make_backend("simulated", options={"sharpness": 2}).settings["sharpness"]
        2
    """
    make = resolve(name, BACKENDS, "backend", __name__)
    if not callable(make):
        raise ValueError(f"The backend {name!r} is {make!r}. Mend: name a class, or a function that makes a backend.")
    arguments = dict(options or {})
    if model is None and "model" not in arguments:
        model = getattr(make, "preset_models", {}).get(preset)
    if model is not None:
        arguments["model"] = model
    signature = inspect.signature(make)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"What was given does not fit the backend {name!r}: {error}. "
            f"Mend: it takes {', '.join(signature.parameters)}; on the command line, --model and --backend_options."
        ) from None
    try:
        return checked(make(**arguments))
    except TypeError as error:  # a value of another type, such as a word for a number
        raise ValueError(
            f"The backend {name!r} cannot be made of what was given ({error}). Mend: correct the values of its options."
        ) from error


@dataclass(frozen=True)
class BackendChoice:
    """Which backend to make, and with what: so that another can be made for another model of the same service.

    Attributes:
        name: As `make_backend` takes it.
        model: The model to ask; None for the default.
        options: Further arguments of the class.

    Example:
        >>> BackendChoice("simulated", options={"sharpness": 2}).make().settings["sharpness"]
        2
    """

    name: str = "gemini"
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self, preset: str = "default") -> Backend:
        """The backend."""
        return make_backend(self.name, self.model, preset, self.options)

    def asking(self, model: str | None) -> BackendChoice:
        """The same service asked for another model; what was said of this model alone does not go with it."""
        kept = {name: value for name, value in self.options.items() if name not in _OF_A_MODEL}
        return replace(self, model=model, options=kept)


#: Arguments of a backend's class that say something of the one model.
_OF_A_MODEL = ("capabilities", "answers_as", "model")


def checked(backend: Any) -> Backend:
    """The same backend, if it has what the protocol asks for."""
    wanted = [name for name in {**Backend.__annotations__, **vars(Backend)} if not name.startswith("_")]
    lacks = [name for name in wanted if name not in dir(backend)]
    if lacks:
        raise ValueError(
            f"{type(backend).__name__!r} is no backend: it has no {', '.join(lacks)}. "
            "Mend: see the protocol hf_emo_dist.annotation.types.Backend."
        )
    return backend
