"""How votes are combined into targets, as settings: what goes together, and a combiner that was fitted before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .._fields import default_of, mirrored
from .._files import is_ordinary
from ..combining.combiner import VoteCombiner
from ..data.preparation_file import COMBINER_NAME
from ..votes import combine_votes

METHODS = ("posterior", "weighted", "pool")
WEIGHTS = ("human_weight", "synthetic_weight", "distribution_weight")


@dataclass
class CombineArguments:
    """How votes are combined into targets, as options of a command.

    Attributes:
        combine: posterior, a synthetic vote for what it was measured to be worth; weighted, one weight for all of them;
            or pool, one vote each, as arXiv 2601.14620 has it. Default: posterior; that of the combiner, where one is
            given; pool with the preset paper.
        combine_weight: Weight of a synthetic vote, for combine weighted. Default: fitted on the training split.
        combiner: JSON file of a fitted combiner, such as the combiner.json of another data set, to be used instead of
            fitting one.
        human_weight: For combine pool, votes that a human vote counts for in emotion_distribution. Default: 1.
        synthetic_weight: For combine pool, votes that a synthetic label counts for. Default: 1.
        distribution_weight: For combine pool, votes that a stated distribution counts for. Default: 1.
        empty: What becomes of a row that nobody voted on: error; drop, which leaves the row out; or prior, the mean of
            the fitted prior (uniform means the same). With combine pool: error, drop or uniform, and a row without a
            human vote counts as empty.
    """

    combine: Literal["posterior", "weighted", "pool"] | None = None
    combine_weight: float | None = None
    agreement: float = mirrored(VoteCombiner, "agreement")
    combiner: str | None = None
    human_weight: float | None = None
    synthetic_weight: float | None = None
    distribution_weight: float | None = None
    empty: Literal["error", "drop", "prior", "uniform"] = default_of(combine_votes, "empty")

    def settle(self, preset: str) -> None:
        """Decide the method where none was named, and refuse what does not go together.

        Raises:
            ValueError: A setting is out of range, or belongs to another method.
        """
        if self.combine is None and self.combiner is None:
            self.combine = "pool" if preset == "paper" else default_of(VoteCombiner, "method")
        method = "that of the combiner" if self.combiner is not None else str(self.combine)
        if self.combine not in (None, *METHODS):
            raise ValueError(f"combine={self.combine!r} is not known. Mend: combine must be {', '.join(METHODS)}.")
        if self.combiner is not None:
            for name in ("combine_weight", *WEIGHTS):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} and combiner do not go together. Mend: leave one of them out.")
        for name in WEIGHTS:
            value = getattr(self, name)
            if value is not None and self.combine != "pool":
                raise ValueError(
                    f"{name}={value:g} belongs to combine pool, and combine is {method}. Mend: --combine pool; or, for "
                    "one weight on every synthetic vote, --combine weighted --combine_weight 0.1."
                )
        if self.combine_weight is not None and self.combine != "weighted":
            raise ValueError(
                f"combine_weight={self.combine_weight:g} belongs to combine weighted, and combine is {method}. Mend: "
                "--combine weighted, or leave it out."
            )
        for name in ("combine_weight", *WEIGHTS):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name}={value:g} is no weight. Mend: a number from 0 up.")
        if not 0 < self.agreement < 1:
            raise ValueError(f"agreement={self.agreement:g} is no Fleiss' kappa. Mend: between 0 and 1.")
        if self.agreement != default_of(VoteCombiner, "agreement") and (
            self.combine == "pool" or self.combiner is not None
        ):
            raise ValueError(
                f"agreement={self.agreement:g} is for fitting, and combine is {method}. Mend: leave it out."
            )
        known = ("error", "drop", "uniform") if self.combine == "pool" else ("error", "drop", "prior", "uniform")
        if self.empty not in known:
            raise ValueError(
                f"empty={self.empty!r} is not known with combine {method}. Mend: empty must be {', '.join(known)}."
            )

    @property
    def given_weights(self) -> dict[str, float]:
        """The arguments of `combine_votes` that were given."""
        return {name: getattr(self, name) for name in WEIGHTS if getattr(self, name) is not None}

    def new_combiner(self, emotions: Sequence[str]) -> VoteCombiner:
        """The combiner that is to be fitted."""
        assert self.combine is not None
        return VoteCombiner(
            emotions, self.combine, weight=self.combine_weight, agreement=self.agreement, empty=_empty_of(self.empty)
        )

    def saved_combiner(self, emotions: Sequence[str]) -> VoteCombiner | None:
        """The combiner of the file, where one is named.

        Raises:
            OSError: There is no such file.
            ValueError: It is no combiner, or one of another method or of other emotions.
        """
        if self.combiner is None:
            return None
        found = load_combiner(self.combiner, emotions)
        if self.combine not in (None, found.method):
            raise ValueError(
                f"combine is {self.combine}, and the combiner at {self.combiner} is of the method {found.method}. "
                "Mend: leave one of them out."
            )
        found.empty = _empty_of(self.empty)
        return found


def _empty_of(empty: str) -> Any:
    return "prior" if empty == "uniform" else empty


def load_combiner(file: str | Path, emotions: Sequence[str]) -> VoteCombiner:
    """Read a combiner that fits a data set of these emotions.

    Raises:
        OSError: There is no such file.
        ValueError: It is no combiner, or one of other emotions.
    """
    path = Path(file).expanduser()
    if not is_ordinary(path):
        raise OSError(
            f"There is no combiner at {file}. Mend: the {COMBINER_NAME} of a folder that hf-emo-dist annotate wrote."
        )
    found = VoteCombiner.load(path)
    if set(found.emotions or ()) != set(emotions):
        raise ValueError(
            f"The combiner at {file} was fitted for {', '.join(found.emotions or ())}, and the data is of "
            f"{', '.join(emotions)}. Mend: a combiner fitted on rows with these labels."
        )
    return found
