"""Which engine a command runs on, as options."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Literal

from .._fields import option


@dataclass
class EngineChoice:
    """Where what maps over clips runs.

    Example:
        >>> with EngineChoice().open() as engine:
        ...     engine is None
        True
    """

    engine: Literal["local", "ray"] = option(
        "local", "local, or ray: on all cores and GPUs of a Ray cluster, or of this machine."
    )
    address: str | None = option(
        None, "Ray cluster to use, such as auto or 10.0.0.1:6379. Default: RAY_ADDRESS, else one is started here."
    )
    workers: int | None = option(None, "Ray workers at most. Default: one a core, for local models one a GPU.")

    def __post_init__(self) -> None:
        if self.engine == "local" and (self.address is not None or self.workers is not None):
            given = "address" if self.address is not None else "workers"
            raise ValueError(f"--{given} is for a Ray cluster. Mend: --engine ray --{given} …, or leave it out.")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers={self.workers} is none. Mend: at least 1.")

    def open(self) -> contextlib.AbstractContextManager[object]:
        """The engine for a block; None where everything runs in this process."""
        if self.engine == "local":
            return contextlib.nullcontext()
        from .ray_engine import RayEngine

        return RayEngine(self.address, self.workers)
