"""Targets that a combiner was fitted for, made anew on the rows that a model may learn from; mixed rows with them.

A combiner learns from human votes what a synthetic one is worth. One that was fitted on all rows has seen the votes
that a fold is scored against, and so have the targets that it made. Here it is fitted on training rows alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..augmentation.mixed_dataset import mix_structs
from ..combining.combiner import VoteCombiner
from ..combining.evidence_columns import COLUMNS
from ..data.mixed_rows import is_mixed
from ..data.opened import OpenedDataset
from ..data.rows import column_of, row_ids
from ..votes import distribution_feature, distributions_to_matrix

if TYPE_CHECKING:
    from datasets import Dataset

TARGET, CONCENTRATION = "emotion_distribution", "emotion_concentration"
SYNTHETIC = ("synthetic_votes", "synthetic_annotations")
#: Methods of a combiner that learns from human votes.
FITTED_METHODS = ("posterior", "weighted")


@dataclass(frozen=True)
class Targets:
    """Targets of rows, in their order, and how many votes each is worth; `None` where a row has none."""

    distributions: Sequence[dict[str, float] | None]
    concentrations: Sequence[float | None] | None = None  # None: nobody says

    def matrix(self, emotions: Sequence[str], ids: Sequence[str]) -> np.ndarray:
        """The distributions (N, K); a `ValueError` that names the row where there is none."""
        return distributions_to_matrix(list(self.distributions), emotions, ids=list(ids), column_name=TARGET)


def combiner_settings(opened: OpenedDataset) -> dict[str, Any] | None:
    """How the targets of a data set were fitted, as arguments of `VoteCombiner`; `None` where nothing was fitted.

    `preparation.json` says it; of data without one, such as a Hub id, a column `emotion_concentration` beside
    synthetic votes does, and the combiner is then the default one.
    """
    combine = opened.preparation.get("combine", {})
    if "method" in combine:
        if combine["method"] not in FITTED_METHODS:
            return None
        given = {"weight": combine.get("weight")} if combine.get("weight_given") else {}
        return {**(combine.get("settings") or {}), **given, "method": combine["method"]}
    rows = next(iter(opened.splits.values()))
    known = CONCENTRATION in rows.column_names and any(
        any(column_of(part, name) or ()) for part in opened.splits.values() for name in SYNTHETIC
    )
    return {"method": "posterior"} if known else None


def combiner_of(emotions: Sequence[str], settings: Mapping[str, Any]) -> VoteCombiner:
    """A combiner, not fitted, with the settings that a data set was prepared with."""
    try:
        return VoteCombiner(**{**settings, "emotions": list(emotions)})
    except TypeError as error:
        raise ValueError(
            f"The settings of the combiner in preparation.json do not fit ({error}). Mend: prepare the data again, or "
            "--refit false to train on its targets as they are."
        ) from error


def refitted_targets(combiner: VoteCombiner, learnt: Dataset, rows: Dataset | None = None) -> Targets:
    """Fit a combiner on rows of which none is mixed, and make the targets of these rows, or of others.

    Args:
        combiner: How; fitted afterwards.
        learnt: Training rows: nothing else has any influence.
        rows: Whose targets are made, by their own votes and what was learnt. Default: the training rows'.
    """
    return targets_by(combiner.fit(_votes(combiner, learnt)), learnt if rows is None else rows)


def targets_by(combiner: VoteCombiner, rows: Dataset) -> Targets:
    """The targets that a fitted combiner makes of rows of which none is mixed."""
    columns = _votes(combiner, rows)
    made = combiner({**{name: columns[name][:] for name in columns.column_names}, "id": row_ids(rows)})
    return Targets(made[TARGET], made[CONCENTRATION])


def votes_digest(combiner: VoteCombiner, rows: Dataset) -> str:
    """A digest of all that decides the targets of rows that a combiner is fitted on: settings, votes, version.

    Not of the targets: an optimum differs in its last digits from one number of threads to another.
    """
    columns = _votes(combiner, rows)
    settings = {name: value for name, value in vars(combiner).items() if name != "fitted" and name[0] != "_"}
    digest = hashlib.sha256(json.dumps([__version__, settings], sort_keys=True).encode())
    for name in sorted(columns.column_names):
        digest.update(json.dumps([name, columns[name][:]], sort_keys=True).encode())
    return digest.hexdigest()


def _votes(combiner: VoteCombiner, rows: Dataset) -> Dataset:
    """The columns that a combiner reads, without the distributions, of which it would only take the labels."""
    names = [name for name in COLUMNS if not name.endswith("_distribution")]
    names += [*combiner.predictions, *([combiner.pilot] if combiner.pilot else [])]
    return rows.select_columns([name for name in names if name in rows.column_names])


def remixed(rows: Any, made: Mapping[str, dict[str, float] | None]) -> list[dict[str, float] | None]:
    """New targets of rows among which some were mixed: an original's own; of a mixed row, its sources' mixed again.

    Args:
        rows: Rows with `id` and, where some are mixed, `mixed_from` (two ids) and `mix_ratio`, the share of the first.
        made: Target of each original, by id.

    Example:
        >>> rows = [{"id": "a"}, {"id": "b"}, {"id": "m", "mixed_from": ["a", "b"], "mix_ratio": 0.25}]
        >>> remixed(rows, {"a": {"sad": 1.0, "happy": 0.0}, "b": {"sad": 0.0, "happy": 1.0}})[2]
        {'sad': 0.25, 'happy': 0.75}
    """
    ids, mixed = row_ids(rows), is_mixed(rows)
    if not mixed.any():
        return [made[name] for name in ids]
    sources, ratios = column_of(rows, "mixed_from") or [], column_of(rows, "mix_ratio") or [None] * len(ids)
    found = []
    for place, name in enumerate(ids):
        if not mixed[place]:
            found.append(made[name])
            continue
        if ratios[place] is None or len(sources[place]) != 2:
            raise ValueError(
                f"Row {name!r}: a mixed row needs two ids in 'mixed_from' and a 'mix_ratio', and has {sources[place]} "
                f"and {ratios[place]}. Mend: augment the data again."
            )
        first, second = sources[place]
        found.append(mix_structs(made[first], made[second], ratios[place]))
    return found


def with_targets(dataset: Dataset, targets: Targets, emotions: Sequence[str]) -> Dataset:
    """The rows of a data set that have a target, with it in `emotion_distribution`; nothing else of them changes.

    What the targets are worth goes to `emotion_concentration`; where nobody says it, there is no such column.
    """
    from datasets import Dataset, Features, Value, concatenate_datasets

    kept = [place for place, target in enumerate(targets.distributions) if target is not None]
    if not kept:
        raise ValueError(f"No row has a target for {TARGET!r}. Mend: annotate the rows first.")
    rest = dataset.remove_columns([name for name in (TARGET, CONCENTRATION) if name in dataset.column_names])
    columns: dict[str, list[Any]] = {TARGET: [targets.distributions[place] for place in kept]}
    features = Features({TARGET: distribution_feature(emotions)})
    if targets.concentrations is not None:
        columns[CONCENTRATION] = [targets.concentrations[place] for place in kept]
        features[CONCENTRATION] = Value("float32")
    added = Dataset.from_dict(columns, features=features)
    return concatenate_datasets([rest.select(kept).flatten_indices() if len(kept) < len(rest) else rest, added], axis=1)
