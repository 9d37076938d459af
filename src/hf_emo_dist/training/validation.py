"""Checks before a training or an evaluation starts: of the data, and of what was launched."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..audio.check import check_audio
from ..audio.decoding import LongAudio
from ..data.label_map import refuse_without_votes
from ..data.mixed_rows import refuse_mixed
from ..votes import distributions_to_matrix

logger = logging.getLogger(__name__)


def check_columns(dataset: Any, emotions: Sequence[str], column: str, use: str) -> np.ndarray:
    """Return the distributions of a column, (N, K), after checking everything that would fail later."""
    names = dataset.column_names
    if len(dataset) == 0:
        raise ValueError(f"the {use} data set has no rows. Mend: name another split, or check how it was filtered.")
    check_names(dataset, column, use)
    ids = [str(i) for i in dataset["id"]] if "id" in names else [str(i) for i in range(len(dataset))]
    if use == "evaluation":
        refuse_mixed(dataset)
    return distributions_to_matrix(dataset[column], emotions, ids=ids, column_name=column)


def check_names(dataset: Any, column: str, use: str) -> None:
    """Refuse data without an `audio` or a distribution column, also a stream that knows its columns."""
    names = getattr(dataset, "column_names", None)
    if names is None:
        return
    if "audio" not in names:
        raise ValueError(
            f"the {use} data set has no `audio` column; it has {names}. Mend: rename the column that holds the clips."
        )
    if "mix_audio" in names:  # of 0.1: two clips a row, to be mixed in the embedding space
        raise ValueError(
            f"the {use} data set has rows with two clips (`mix_audio`), and one alone does not fit its target. "
            "Mend: make it again with DiMEAug(...).augment(dataset), which mixes waveforms."
        )
    refuse_without_votes(names, column)
    if column not in names:
        raise ValueError(
            f"the {use} data set has no `{column}` column; it has {names}. Mend: write it with "
            "dataset.map(combine_votes, fn_kwargs={'emotions': [...]}), or read the data with hf_emo_dist.read_table."
        )


def check_votes(dataset: Any, use: str) -> None:
    """Refuse data without votes where the loss is a likelihood of votes."""
    names = getattr(dataset, "column_names", None)
    if names is not None and "human_votes" not in names:
        raise ValueError(
            f"loss_type='dirichlet_multinomial' is a likelihood of votes, and the {use} data has no `human_votes` "
            "column. Mend: add it, or use js, kl or soft_cross_entropy."
        )
    if use == "training" and names is not None and hasattr(dataset, "__len__"):
        if "synthetic_votes" not in names and all(len(votes or ()) < 2 for votes in dataset["human_votes"]):
            logger.warning(
                "no training row has 2 votes: loss_type='dirichlet_multinomial' then determines distributions, but not "
                "how sure they are, and the model's concentration means nothing"
            )


def check_clips(dataset: Any, use: str, long_audio: LongAudio) -> np.ndarray:
    """Return the durations in seconds (N,), after reading every clip; those that cannot be used are listed."""
    logger.info("reading the %d clips of the %s data", len(dataset), use)
    report = check_audio(dataset, long_audio=long_audio)
    report.raise_if_any()
    return report.durations


def warn_about_speakers(train: Any, evaluation: Any) -> None:
    """Warn when speakers of the evaluation data are also trained on: the figures would not be about unseen speakers."""
    if "speaker" in train.column_names and "speaker" in evaluation.column_names:
        shared = sorted(set(train["speaker"]) & set(evaluation["speaker"]) - {None, ""})
        if shared:
            logger.warning(
                "%d speakers are in both training and evaluation data (%s, ...): the scores are not about unseen "
                "speakers. Mend: hf_emo_dist.speaker_disjoint_split makes splits that are.",
                len(shared),
                ", ".join(map(str, shared[:3])),
            )


def warn_about_launch(world_size: int, environment: Mapping[str, str] = os.environ) -> None:
    """Warn where several CPU processes were asked for and one was started."""
    # `accelerate launch --cpu --num_processes N` starts one process unless MPI does the starting, and says nothing. It
    # sets MASTER_PORT for several processes only, which is how to tell.
    asked = environment.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1") and "MASTER_PORT" in environment
    if world_size == 1 and asked and "WORLD_SIZE" not in environment:
        logger.warning(
            "accelerate was asked for several CPU processes and started one: its `--cpu` needs MPI for that. Mend: "
            "leave it out and use `accelerate launch --multi_gpu --num_processes N -m hf_emo_dist train --use_cpu true "
            "...`, which needs no GPU"
        )
