"""Which part of a run is this process's own, where several share it: one a GPU, started by ``accelerate launch``."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Share:
    """This process among those that share a run.

    Attributes:
        rank: Its number, from 0.
        of: How many there are.
        local: Its number among those of this machine, which is that of its GPU.
    """

    rank: int = 0
    of: int = 1
    local: int = 0

    @classmethod
    def own(cls) -> Share:
        """By what ``accelerate launch`` and ``torchrun`` put into the environment; all of a run without them."""
        found = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
        if not all(value.isdigit() for value in found[:2]):
            return cls()
        rank, of = int(found[0]), int(found[1])
        return cls(rank, max(of, 1), int(found[2]) if found[2].isdigit() else rank)

    def first(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same rows, this process's own share of them first.

        Then come those of the others, the last ones first: mostly they are in the ledger by then. Where they are not,
        who is done early helps from the far end, and what a process that died has left is done, too.

        Example:
            >>> Share(1, 2).first(np.arange(10, 15)).tolist()
            [11, 13, 14, 12, 10]
        """
        mine = np.arange(len(order)) % self.of == self.rank
        return np.concatenate([order[mine], order[~mine][::-1]])
