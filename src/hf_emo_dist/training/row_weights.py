"""How much each training row counts in the loss, by how many votes its target is worth."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

COLUMN = "emotion_concentration"


@dataclass(frozen=True)
class RowWeights:
    """The weight ``A / (A + kappa)`` of a row whose target is worth A votes, over the mean weight of the data.

    The variance of a target goes like ``1 / A``, and beside it stands what the audio does not tell, like ``1 / kappa``:
    a row's weight is one over their sum. A says how good a target is; it is no number of votes, and no likelihood
    counts it as such.

    Attributes:
        kappa: Votes at which a row has half of the weight that it could have.
        usual: A of rows that say none, such as mixed ones: the mean of those that do.
        scale: One over the mean weight of the data's rows.
    """

    kappa: float
    usual: float
    scale: float

    @classmethod
    def of(cls, dataset: Any, kappa: float) -> RowWeights:
        """Read them from the column `emotion_concentration` of a training data set.

        Args:
            dataset: The rows, all of them: a stream does not know their mean.
            kappa: As in `EmotionDistributionTrainingArguments.concentration_weight`.

        Raises:
            ValueError: The data is a stream or lacks the column, no row has a value, or one is no number above 0.

        Example:
            >>> from datasets import Dataset
            >>> rows = Dataset.from_dict({"emotion_concentration": [15.0, 5.0, None]})
            >>> weights = RowWeights.of(rows, kappa=5.0)
            >>> [round(weights(row), 3) for row in rows]
            [1.174, 0.783, 1.043]
        """
        if not hasattr(dataset, "__len__"):
            raise ValueError(
                "concentration_weight needs all rows beforehand, whose mean weight is 1, and the training data is a "
                "stream. Mend: load it with streaming=False, or leave concentration_weight out."
            )
        names = dataset.column_names
        mend = (
            "Mend: make the targets with dataset.map(VoteCombiner().fit(train), batched=True), or leave "
            "concentration_weight out."
        )
        if COLUMN not in names:
            raise ValueError(
                f"concentration_weight needs a column {COLUMN!r}, and there are {', '.join(names)}. {mend}"
            )
        values = np.array([np.nan if value is None else float(value) for value in dataset[COLUMN]])
        given = np.array([value is not None for value in dataset[COLUMN]])
        bad = np.flatnonzero(given & ~(np.isfinite(values) & (values > 0)))
        if len(bad):
            name = dataset["id"][int(bad[0])] if "id" in names else int(bad[0])
            raise ValueError(f"Row {name!r}: {COLUMN}={values[bad[0]]} is no number of votes above 0. {mend}")
        if not given.any():
            raise ValueError(f"No training row has a value in {COLUMN!r}. {mend}")
        usual = float(values[given].mean())
        if not given.all():
            logger.info(
                "%d of %d training rows do not say what their targets are worth (mixed rows do not): they weigh like "
                "one of %.2f votes, the mean of the others",
                (~given).sum(),
                len(given),
                usual,
            )
        worth = np.where(given, values, usual)
        return cls(kappa, usual, float(1.0 / (worth / (worth + kappa)).mean()))

    def __call__(self, row: Mapping[str, Any]) -> float:
        """The weight of one row."""
        value = row.get(COLUMN)
        worth = self.usual if value is None else float(value)
        return self.scale * worth / (worth + self.kappa)
