"""What is cross-validated: rows, folds, and of each fold the targets that may be learnt from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.protocols import Protocol
from ..data.rows import column_of, row_ids
from ..data.targets import scored_matrix
from ..scores.classes import smoothed_labels
from ..votes import distributions_to_matrix, matrix_to_distributions
from .refitted_targets import (
    TARGET,
    Targets,
    combiner_of,
    combiner_settings,
    refitted_targets,
    remixed,
    votes_digest,
    with_targets,
)
from .resuming import data_stamp, open_recipe
from .speaker_folds import SpeakerFold, folds_with_speakers, protocol_folds

if TYPE_CHECKING:
    from datasets import Dataset

    from ..combining.combiner import VoteCombiner


class FoldPlan:
    """The rows that somebody has heard, what they are scored against, and the folds; mixed rows are only trained on."""

    def __init__(
        self,
        recipe: Any,
        args: Any,
        fold_column: str | None,
        num_folds: int,
        validation_speakers: int,
        vote_source: str | None,
        overwrite: bool,
        refit: bool,
        protocol: Protocol | None,
        smooth_targets: bool,
    ) -> None:
        self.recipe, self.args, self.overwrite = recipe, args, overwrite
        self.opened = open_recipe(recipe, vote_source)
        self.emotions, self.rows = self.opened.emotions(args.target_column), self.opened.heard()
        self.ids, self.references = row_ids(self.rows), scored_matrix(self.rows, self.emotions, args.score_column)
        # how the targets were fitted on votes, where they were and are what is trained on
        self.fitted = combiner_settings(self.opened) if args.target_column == TARGET else None
        self.refit = self.fitted is not None and refit
        self.protocol, self.smooth_targets = protocol, smooth_targets
        if protocol is None:
            self.folds, self.speakers = folds_with_speakers(
                self.rows, fold_column, num_folds, validation_speakers, args.seed
            )
        else:
            self.folds, self.speakers = protocol_folds(self.rows, protocol)
        # of each fold, (N, K) with the targets of its other rows; what else is there must not be looked at
        self.targets = self._targets_by_fold()
        self.stamp = self._stamp()
        mixed, self.mixed_stamp = self.opened.mixed, dict[str, str]()
        if len(mixed.mixed):
            made = self._targets_of(self.opened.rows().select(mixed.mixed))
            self.mixed_stamp["mixed"] = data_stamp(mixed.ids, self.emotions, [made], [])["data"]

    def _targets_by_fold(self) -> list[np.ndarray]:
        if not self.refit:
            return [self._targets_of(self.rows)] * len(self.folds)
        found = []
        for fold in self.folds:
            made = self.refitted(fold.others)
            targets = np.full((len(self.rows), len(self.emotions)), np.nan)
            targets[fold.others] = made.matrix(self.emotions, [self.ids[place] for place in fold.others])
            found.append(targets)
        return found

    def _stamp(self) -> dict[str, str]:
        tested = [fold.test for fold in self.folds]
        if not self.refit:
            return data_stamp(self.ids, self.emotions, [self.targets[0], self.references], tested)
        # not the targets themselves: they are made of the votes
        stamp = data_stamp(self.ids, self.emotions, [self.references], tested)
        return {**stamp, "votes": votes_digest(self._combiner(), self.rows)}

    def _combiner(self) -> VoteCombiner:
        assert self.fitted is not None
        return combiner_of(self.emotions, self.fitted)

    def refitted(self, places: np.ndarray) -> Targets:
        """Targets of rows, in their order, fitted on these rows alone."""
        return refitted_targets(self._combiner(), self.rows.select(places))

    def training_rows(self, fold: SpeakerFold) -> Dataset:
        """What the model learns from: the fold's rows, and the mixed ones whose sources are all among them."""
        mixed = self.opened.mixed
        rows = self.opened.rows().select(mixed.train(mixed.originals[fold.learnt]))
        rows = self._refitted_rows(rows, fold) if self.refit else rows
        if self.protocol is None or not self.smooth_targets:
            return rows
        smoothed = smoothed_labels(self._targets_of(rows), self.protocol.smoothing)
        worth = column_of(rows, "emotion_concentration")
        return with_targets(rows, Targets(matrix_to_distributions(smoothed, self.emotions), worth), self.emotions)

    def _refitted_rows(self, rows: Dataset, fold: SpeakerFold) -> Dataset:
        made = self.refitted(fold.learnt)
        ids = [self.ids[place] for place in fold.learnt]
        worth = dict(zip(ids, made.concentrations or [None] * len(ids), strict=True))
        targets = remixed(rows, dict(zip(ids, made.distributions, strict=True)))
        # nobody has heard a mixed row: it is worth no number of votes
        return with_targets(rows, Targets(targets, [worth.get(name) for name in row_ids(rows)]), self.emotions)

    def _targets_of(self, rows: Any) -> np.ndarray:
        name = self.args.target_column
        column = column_of(rows, name)
        if column is None:
            raise ValueError(f"There is no column {name!r} to train on. Mend: write it with combine_votes.")
        return distributions_to_matrix(column, self.emotions, ids=row_ids(rows), column_name=name)

    @property
    def out(self) -> Path:
        """Where the report is written."""
        return Path(str(self.args.output_dir))

    def by_fold(self, predict: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """Predictions (N, K) by a function of a fold's targets (N, K), its rows to learn from and those to predict."""
        result = np.empty_like(self.references)
        for fold, targets in zip(self.folds, self.targets, strict=True):
            result[fold.test] = predict(targets, fold.others, fold.test)
        return result
