"""Targets of a whole data set: what synthetic votes are worth is fitted on training rows, and used in every split."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._fields import default_of
from ..columns import distribution_feature
from ..combining.combiner import VoteCombiner
from ..combining.evidence import Evidence
from ..combining.worth import verdict
from ..data.mixed_rows import is_mixed
from ..data.rows import column_of, row_ids
from ..votes import combine_votes
from .combine_settings import WEIGHTS, CombineArguments

if TYPE_CHECKING:
    from datasets import Dataset

    from ..data.opened import OpenedDataset

logger = logging.getLogger(__name__)

_CONCENTRATION = "emotion_concentration"


# --- which rows are learnt from


@dataclass(frozen=True)
class FittingRows:
    """The rows that a combiner may learn from: those of the training split whose speakers are in no other."""

    split: str
    rows: Dataset
    left_out: int  # rows of speakers that are in other splits, too
    others: tuple[str, ...]  # the other splits


def learning_split(splits: Mapping[str, Any]) -> str | None:
    """`train`, or the only split; None where there are several others."""
    return "train" if "train" in splits else next(iter(splits)) if len(splits) == 1 else None


def fitting_rows(splits: Mapping[str, Dataset]) -> FittingRows:
    """The rows of `train`, or of the only split, without mixed rows and without speakers of any other split.

    Raises:
        ValueError: There are several splits and none is `train`.
    """
    split = learning_split(splits)
    if split is None:
        raise ValueError(
            f"There is no split 'train' to learn from what synthetic votes are worth (there are {', '.join(splits)}), "
            "and nothing is learnt from rows that are scored. Mend: name the training split 'train'; or --combiner "
            "FILE of other data; or --combine pool."
        )
    others = tuple(name for name in splits if name != split)
    elsewhere = {name for other in others for name in column_of(splits[other], "speaker") or ()} - {None, ""}
    rows = splits[split]
    heard = ~is_mixed(rows)
    speakers = column_of(rows, "speaker") or [None] * len(rows)
    shared = heard & np.array([name in elsewhere for name in speakers], dtype=bool)
    kept = np.flatnonzero(heard & ~shared)
    return FittingRows(split, rows.select(kept) if len(kept) < len(rows) else rows, int(shared.sum()), others)


def fit_on_splits(combiner: VoteCombiner, splits: Mapping[str, Dataset]) -> FittingRows:
    """Fit a combiner on the rows that it may learn from, and say in the log which these are."""
    found = fitting_rows(splits)
    if found.left_out:
        logger.info("%s", _left_out(found))
    combiner.fit(found.rows)
    logger.info("%s", combiner.summary())
    return found


def _left_out(found: FittingRows) -> str:
    return f"{found.left_out} rows of {found.split!r} were not fitted on: their speakers are in other splits, too."


# --- before anybody is paid


def check_combining(settings: CombineArguments, opened: OpenedDataset, annotated: Sequence[str]) -> VoteCombiner | None:
    """Find what would end the combining of votes later: hours and money are spent on what comes first.

    Args:
        settings: How votes will be combined.
        opened: The data set.
        annotated: Splits that will get synthetic votes.

    Returns:
        The saved combiner, where the settings name one.

    Raises:
        OSError: There is no combiner at the place named.
        ValueError: The combiner is of other emotions; a vote is none of the emotions; nobody voted on a row and nobody
            will; or there is nothing to learn from what synthetic votes are worth.
    """
    emotions = opened.emotions()
    saved = settings.saved_combiner(emotions)
    evidence = _evidence(opened.splits, emotions)
    synthetic = {split for split, found in evidence.items() if _spoken(found).any()}
    _refuse_other_mixed_targets(opened.splits, emotions)
    pooled = settings.combine == "pool"
    alone = not annotated and not synthetic
    for split, rows in opened.splits.items():
        found = evidence[split]
        silent = ~is_mixed(rows) & (found.human.sum(axis=1) == 0)
        if not pooled and not alone:
            silent &= ~_spoken(found) & (split not in annotated)
        if silent.all() and settings.empty == "drop":
            raise ValueError(
                f"Nobody voted on any row of {split!r}, and --empty drop would leave none of them. Mend: leave the "
                "split out, or --empty uniform."
            )
        if silent.any() and (settings.empty == "error" or (alone and settings.empty == "prior")):
            told = "no human votes" if pooled or alone else "no votes, and nobody will be asked"
            mend = "leave them out, or --empty drop" + (
                "" if alone else " or --empty uniform" if pooled else " or --empty prior"
            )
            if alone and settings.empty == "prior":
                told += ", and there are no synthetic votes, so that no prior is fitted"
            ids = [name for name, bare in zip(row_ids(rows), silent, strict=True) if bare]
            raise ValueError(f"{len(ids)} rows of {split!r} have {told} (first: {ids[0]!r}). Mend: {mend}.")
    if pooled or saved is not None or alone:
        return saved
    learnt = fitting_rows(opened.splits)
    if not len(learnt.rows) and settings.combine_weight is None:
        raise ValueError(
            f"Every speaker of {learnt.split!r} is in {', '.join(learnt.others)}, too, so that no row is left to learn "
            "from what synthetic votes are worth: nothing is learnt from speakers that are scored. Mend: splits of "
            "whole speakers (hf_emo_dist.speaker_disjoint_split); --combiner FILE of other data; --combine weighted "
            "--combine_weight 0.1; or --combine pool."
        )
    if annotated and learnt.split not in {*annotated, *synthetic} and settings.combine_weight is None:
        raise ValueError(
            f"{learnt.split!r} has no synthetic votes and annotate_splits leaves it out, so that nobody could tell "
            f"what those of {', '.join(annotated)} are worth. Mend: --annotate_splits "
            f"{','.join([learnt.split, *annotated])}; --combiner FILE of other data; or --combine pool."
        )
    return None


def _evidence(splits: Mapping[str, Dataset], emotions: Sequence[str]) -> dict[str, Evidence]:
    """What is known of all rows, the mixed ones too; a vote that is none of the emotions is an error."""
    from ..combining.evidence_columns import evidence_of_rows

    return {split: evidence_of_rows(rows, emotions) for split, rows in splits.items()}


def _spoken(evidence: Evidence) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Rows that an annotator said something about, (N,)."""
    found = np.zeros(len(evidence), dtype=bool)
    for answers in evidence.annotators.values():
        found |= answers.number > 0
    return found


def _refuse_other_mixed_targets(splits: Mapping[str, Dataset], emotions: Sequence[str]) -> None:
    """Targets of mixed rows stay as they are: they cannot be made over other emotions."""
    for split, rows in splits.items():
        there = rows.features.get("emotion_distribution")
        if isinstance(there, Mapping) and set(there) != set(emotions) and is_mixed(rows).any():
            raise ValueError(
                f"{split!r} has mixed rows, whose targets are over {', '.join(there)} and not over "
                f"{', '.join(emotions)}. Mend: prepare the data that they were mixed from."
            )


# --- combining


@dataclass(frozen=True)
class CombinedSplits:
    """Splits with their targets, how these were made (for `preparation.json`), and the combiner that made them."""

    splits: dict[str, Dataset]
    about: dict[str, Any]
    combiner: VoteCombiner | None = None


def combine_splits(
    splits: Mapping[str, Dataset],
    settings: CombineArguments,
    emotions: Sequence[str],
    saved: VoteCombiner | None = None,
    notes: Sequence[str] = (),
) -> CombinedSplits:
    """Write `human_distribution`, `emotion_distribution` and `emotion_concentration` of every split.

    What synthetic votes are worth is fitted on `fitting_rows` alone. Where nobody but people has voted, the target is
    `human_distribution`.

    Args:
        splits: All splits of a data set, with the votes that they will have.
        settings: How to combine.
        emotions: The label set.
        saved: A combiner to use instead of fitting one.
        notes: What must be said of figures on these votes, such as ``simulated data``.
    """
    about: dict[str, Any]
    combiner = None
    if settings.combine == "pool":
        about = {"method": "pool", "settings": {"empty": settings.empty, **_pool_weights(settings)}}
    elif not any(_spoken(found).any() for found in _evidence(splits, emotions).values()):
        logger.info("There are no synthetic votes: emotion_distribution is human_distribution, and nothing is fitted.")
        about = {"method": "human", "settings": {"empty": settings.empty}}
    else:
        combiner = saved or settings.new_combiner(emotions)
        learnt = None if saved is not None else fit_on_splits(combiner, splits)
        about = about_combiner(combiner, learnt)
    about["data"] = list(notes)
    combined = {}
    for split, rows in splits.items():
        rows = _ready(rows, emotions)
        if combiner is None:
            empty = "error" if settings.empty == "prior" else settings.empty
            arguments = {"emotions": list(emotions), "empty": empty, **settings.given_weights}
            features = _features(rows, emotions, concentration=False)
            function: Any = combine_votes
        else:
            features, arguments, function = _features(rows, emotions, concentration=True), {}, combiner
        rows = rows.map(
            function, fn_kwargs=arguments, batched=True, features=features, desc=f"Combining votes of {split}"
        )
        if settings.empty == "drop":
            rows = rows.filter(
                lambda batch: [p is not None for p in batch], input_columns="emotion_distribution", batched=True
            )
        combined[split] = rows
    return CombinedSplits(combined, about, combiner)


def _pool_weights(settings: CombineArguments) -> dict[str, float]:
    return {name: settings.given_weights.get(name, default_of(combine_votes, name)) for name in WEIGHTS}


def _ready(rows: Dataset, emotions: Sequence[str]) -> Dataset:
    """Without columns of an earlier combining that would not be written over, or are of other emotions."""
    old = [_CONCENTRATION] if _CONCENTRATION in rows.column_names else []
    for name in ("human_distribution", "emotion_distribution"):
        there = rows.features.get(name)
        if isinstance(there, Mapping) and set(there) != set(emotions):
            old.append(name)
    return rows.remove_columns(old) if old else rows


def _features(rows: Dataset, emotions: Sequence[str], concentration: bool) -> Any:
    """Of the rows with their targets: fields in the order of the emotions, whatever order a combiner has."""
    from datasets import Features, Value

    structs = {name: distribution_feature(emotions) for name in ("human_distribution", "emotion_distribution")}
    return Features({**rows.features, **structs, **({_CONCENTRATION: Value("float32")} if concentration else {})})


def about_combiner(combiner: VoteCombiner, learnt: FittingRows | None) -> dict[str, Any]:
    """What `preparation.json` says of a combiner: plain JSON, without paths.

    Args:
        combiner: Fitted.
        learnt: The rows that it was fitted on here; None for one that was fitted elsewhere.
    """
    fitted = combiner.fitted
    assert fitted is not None
    notes = list(fitted.notes)
    learnt_on = {name: fitted.about[name] for name in ("rows", "speakers", "votes", "votes_a_row", "answers")}
    if learnt is None:
        notes.append("The combiner was fitted elsewhere: whether it saw speakers who are scored here is not known.")
    else:
        learnt_on = {"split": learnt.split, **learnt_on, "left_out": learnt.left_out}
        if learnt.left_out:
            notes.append(_left_out(learnt))
        if learnt.split != "train":
            notes.append(f"There is one split, {learnt.split!r}, and it was fitted on.")
    settings: dict[str, Any] = {"agreement": combiner.agreement, "empty": combiner.empty, "seed": combiner.seed}
    # only a combiner that was fitted elsewhere can have these
    settings |= {"predictions": list(combiner.predictions)} if combiner.predictions else {}
    settings |= {"pilot": combiner.pilot} if combiner.pilot is not None else {}
    about: dict[str, Any] = {
        "method": fitted.method,
        "settings": settings,
        "fitted_on": learnt_on,
        "notes": notes,
    }
    if fitted.method == "weighted":
        about["weight"], about["weight_given"] = fitted.weight, fitted.given
    if fitted.method == "posterior":
        about["worth"] = {
            name: {number: _plain(found) for number, found in worth.items()} for name, worth in fitted.worth.items()
        }
        if fitted.choice is not None and fitted.choice.gain:
            about["gain_over_human"] = _plain(fitted.choice.gain["human"])
            about["verdict"] = verdict(fitted.choice.gain["human"], bool(fitted.annotators))
        else:
            about["verdict"] = "There is only one speaker: what the annotators gain on others could not be measured."
    return about


def _plain(found: Sequence[float]) -> list[float | None]:
    """A figure with its interval; what is not known is None."""
    return [float(value) if math.isfinite(value) else None for value in found]
