"""Checks of the data before a training or an evaluation starts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..audio.check import check_audio
from ..audio.decoding import LongAudio
from ..data.label_map import refuse_without_votes
from ..data.mixed_rows import refuse_mixed
from ..votes import distributions_to_matrix

logger = logging.getLogger(__name__)


def check_columns(dataset: Any, emotions: Sequence[str], column: str, use: str) -> np.ndarray:
    """The distributions of a column as (N, K), after checking everything that would fail later.

    Args:
        dataset: a `datasets.Dataset`.
        emotions: the model's emotions, in order.
        column: the distribution column.
        use: `training` or `evaluation`; mixed rows are refused in evaluation.

    Raises:
        ValueError: for an empty data set, a missing column, rows without a distribution, other labels, NaN or negative values, sums other
            than 1, or mixed rows in evaluation; it names the row, the column and the mend.
    """
    names = dataset.column_names
    if len(dataset) == 0:
        raise ValueError(f"the {use} data set has no rows")
    check_names(dataset, column, use)
    ids = [str(i) for i in dataset["id"]] if "id" in names else [str(i) for i in range(len(dataset))]
    if use == "evaluation":
        refuse_mixed(dataset)
    return distributions_to_matrix(dataset[column], emotions, ids=ids, column_name=column)


def check_names(dataset: Any, column: str, use: str) -> None:
    """Finds a missing `audio` or distribution column, also of a stream that knows its columns.

    Raises:
        ValueError: naming the column, those that there are, and the mend.
    """
    names = getattr(dataset, "column_names", None)
    if names is None:
        return
    if "audio" not in names:
        raise ValueError(
            f"the {use} data set has no `audio` column; it has {names}. Rename the column that holds the clips."
        )
    refuse_without_votes(names, column)
    if column not in names:
        raise ValueError(
            f"the {use} data set has no `{column}` column; it has {names}. Write it with dataset_scripts/from_table.py or "
            "dataset.map(combine_votes, fn_kwargs={'emotions': [...]})."
        )


def check_votes(dataset: Any, use: str) -> None:
    """Finds data without votes where the loss is a likelihood of votes.

    Raises:
        ValueError: if there is no `human_votes` column.
    """
    names = getattr(dataset, "column_names", None)
    if names is not None and "human_votes" not in names:
        raise ValueError(
            f"loss_type='dirichlet_multinomial' is a likelihood of votes, and the {use} data has no `human_votes` column; "
            "add it, or use js, kl or soft_cross_entropy"
        )


def check_clips(dataset: Any, use: str, long_audio: LongAudio) -> np.ndarray:
    """Durations in seconds (N,), after reading every clip.

    Raises:
        AudioError: listing by id all clips that are corrupt, empty, silent, non-finite, too short or over 30 s, with the mend.
    """
    logger.info("reading the %d clips of the %s data", len(dataset), use)
    report = check_audio(dataset, long_audio=long_audio)
    report.raise_if_any()
    return report.durations


def warn_about_speakers(train: Any, evaluation: Any) -> None:
    """Warns when speakers of the evaluation data are also trained on: the figures would not be about unseen speakers."""
    if "speaker" in train.column_names and "speaker" in evaluation.column_names:
        shared = sorted(set(train["speaker"]) & set(evaluation["speaker"]) - {None, ""})
        if shared:
            logger.warning(
                "%d speakers are in both training and evaluation data (%s, ...): the scores are not about unseen speakers. "
                "hf_emo_dist.speaker_disjoint_split makes splits that are.",
                len(shared),
                ", ".join(map(str, shared[:3])),
            )
