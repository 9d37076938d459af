"""What an ablation's cells are trained on: targets of each source, those that are fitted by training rows alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ...combining.combiner import VoteCombiner
from ...data.mixed_rows import IndexArray
from ...data.rows import column_of, row_ids
from ...evaluation.refitted_targets import SYNTHETIC, Targets, refitted_targets, targets_by, votes_digest
from ...votes import combine_votes, distributions_to_matrix

if TYPE_CHECKING:
    from datasets import Dataset

#: Sources of training targets that count votes → weights of combine_votes.
COUNTED: Mapping[str, dict[str, float]] = {
    "human": {"synthetic_weight": 0.0, "distribution_weight": 0.0},
    "synthetic": {"human_weight": 0.0},
    "pooled": {},
}
#: Sources that are fitted on the human votes of training rows → method of the combiner.
FITTED: Mapping[str, Literal["posterior", "weighted"]] = {
    "posterior": "posterior",
    "weighted": "weighted",
    "smoothed": "posterior",  # without the synthetic votes
}
DEFAULT_SOURCES = ("human", "synthetic", "pooled", "posterior")
#: A distribution column as a source: `column:NAME`.
COLUMN = "column:"


@dataclass(frozen=True)
class PartTargets:
    """The targets of one source in one part of the data: of the training rows and of the scored ones."""

    learnt: Targets
    own: Targets
    digest: str
    notes: tuple[str, ...] = ()


def targets_of_parts(
    rows: Dataset, emotions: Sequence[str], source: str, parts: Sequence[tuple[IndexArray, IndexArray]]
) -> list[PartTargets]:
    """The targets of one source, part by part; those that are fitted are fitted on a part's training rows alone.

    Args:
        rows: All rows, none of them mixed.
        emotions: The label set.
        source: Of COUNTED, of FITTED, or `column:NAME`.
        parts: Places of the training rows and of the scored ones.
    """
    check_source(rows, source)
    found = []
    whole = None if source in FITTED else source_targets(rows, emotions, source)
    if source == "smoothed":
        rows = rows.remove_columns([name for name in SYNTHETIC if name in rows.column_names])
    for train, test in parts:
        if whole is not None:
            learnt, own = ([whole[place] for place in places] for places in (train, test))
            digest = hashlib.sha256(json.dumps(learnt, sort_keys=True).encode()).hexdigest()
            found.append(PartTargets(Targets(learnt), Targets(own), digest))
            continue
        combiner = VoteCombiner(emotions, FITTED[source], empty="drop", outside="drop")
        made = refitted_targets(combiner, rows.select(train))
        notes = () if combiner.fitted is None else tuple(combiner.fitted.notes)
        digest = votes_digest(combiner, rows.select(train))
        found.append(PartTargets(made, targets_by(combiner, rows.select(test)), digest, notes))
    return found


def needs_synthetic(source: str) -> bool:
    """Whether a source makes targets of synthetic votes."""
    return source not in ("human", "smoothed") and not source.startswith(COLUMN)


def check_source(rows: Any, source: str) -> None:
    """Refuse a source that nobody knows, or whose votes are not there."""
    if source == "combined":
        raise ValueError("The source 'combined' of 0.1 is called 'pooled'. Mend: --sources pooled.")
    if not source.startswith(COLUMN) and source not in COUNTED and source not in FITTED:
        raise ValueError(
            f"The source {source!r} is not known. Mend: one of {', '.join([*COUNTED, *FITTED])}, or column:NAME."
        )
    if "human_votes" not in rows.column_names:
        raise ValueError("There is no column 'human_votes'. Mend: use a data set that hf-emo-dist read wrote.")
    if needs_synthetic(source) and not any(any(column_of(rows, name) or ()) for name in SYNTHETIC):
        raise ValueError(
            f"The source {source!r} needs synthetic votes. Mend: annotate the data set first, or --sources human."
        )


def source_targets(rows: Any, emotions: Sequence[str], source: str) -> list[dict[str, float] | None]:
    """Distributions of a source that is not fitted, row by row; `None` where a row has no vote for it."""
    check_source(rows, source)
    if source.startswith(COLUMN):
        name = source.removeprefix(COLUMN)
        values = column_of(rows, name)
        if values is None:
            raise ValueError(f"There is no column {name!r}. Mend: name one of {', '.join(rows.column_names)}.")
        given = [None if value is None or all(share is None for share in value.values()) else value for value in values]
        kept = [place for place, value in enumerate(given) if value is not None]
        # refuses other labels and what is no distribution
        ids = row_ids(rows)
        distributions_to_matrix(
            [given[place] for place in kept], emotions, ids=[ids[place] for place in kept], column_name=name
        )
        return given
    names = ("human_votes", "human_vote_weights", *SYNTHETIC)
    columns = {name: values for name in names if (values := column_of(rows, name)) is not None}
    columns |= {"human_votes": [votes or [] for votes in columns["human_votes"]], "id": row_ids(rows)}
    return list(
        combine_votes(columns, emotions, empty="drop", outside="drop", **COUNTED[source])["emotion_distribution"]
    )


def fitted_facts(targets: Mapping[str, Sequence[PartTargets]]) -> dict[str, str]:
    """What a reader must know of targets that were fitted."""
    fitted = [source for source in targets if source in FITTED]
    if not fitted:
        return {}
    notes = dict.fromkeys(note for source in fitted for part in targets[source] for note in part.notes)
    where = "the training rows" if len(targets[fitted[0]]) == 1 else "the training rows of each fold"
    return {"fitted targets": " ".join([f"{', '.join(fitted)}: fitted on {where} alone.", *notes])}
