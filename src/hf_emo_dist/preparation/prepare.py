"""The way from a data set to a prepared one: check audio, annotate, combine votes, augment the training split, write a
Parquet folder.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..audio.check import check_audio
from ..augmentation.augment_splits import AugmentationArguments, augment_splits, check_augmentation
from ..data.data_facts import data_facts
from ..data.opened import NOT_STATED, OpenedDataset, open_dataset
from ..data.output import check_folder, write_json
from ..data.preparation_file import PREPARATION_NAME
from ..data.rows import SIMULATED_ANNOTATORS
from ..data.writing import write_dataset
from ..hub.cards.dataset_card import write_dataset_card
from ..votes import combine_votes
from .settings import PrepareSettings

if TYPE_CHECKING:
    from datasets import Dataset

    from ..annotation.annotator import Annotator
    from ..annotation.run.estimate import Estimate
    from ..annotation.run.run_report import RunReport

__all__ = ["estimate_preparation", "prepare_dataset"]

logger = logging.getLogger(__name__)


def estimate_preparation(settings: PrepareSettings) -> dict[str, Estimate]:
    """Estimate what annotating each split will take. Nothing is sent, except for a pilot.

    Raises:
        ValueError, OSError: A setting, the data or the ledger does not fit.
    """
    opened = _open(settings)
    splits = _annotated_splits(settings, opened)
    annotator = settings.annotator(opened.emotions())
    if annotator is None:
        raise ValueError("With backend none nobody is asked. Mend: name a backend.")
    try:
        return {split: annotator.estimate(opened.rows(split), settings.pilot) for split in splits}
    finally:
        annotator.close()


def prepare_dataset(settings: PrepareSettings) -> dict[str, RunReport]:
    """Check audio, annotate, combine, augment and write; returns the report of each split that was annotated.

    In the data set's folder lie `preparation.json`, which says what was done, and, where training data was augmented, a
    folder `preparation` with the plan, a table and a plot of the class mass, and a page to listen to.

    Raises:
        AnnotationIncomplete: A run had to stop. Replies are in the ledger; the same call goes on from there. Nothing is
            written.
        AudioError: Clips cannot be used; the message lists them.
        ValueError, OSError: A setting, the data, the ledger or the output folder does not fit.
    """
    if settings.output is None:
        raise ValueError("output is missing. Mend: name a folder to write.")
    folder = Path(settings.output).expanduser().resolve()
    # All that can be wrong is found before money is spent.
    check_folder(folder, settings.overwrite)
    opened = _open(settings)
    emotions = opened.emotions()
    splits = _annotated_splits(settings, opened)
    annotator = settings.annotator(emotions)
    if settings.augment != "none" and "train" not in opened.splits:
        raise ValueError(
            f"There is no split 'train' to augment (there are {', '.join(opened.splits)}). Mend: augment none."
        )
    for split, rows in opened.splits.items():
        logger.info("%s: checking %d clips", split, len(rows))
        check_audio(rows, long_audio="window").raise_if_any()
    if settings.augment != "none":
        check_augmentation(settings, opened.rows("train"))

    dataset, history = dict(opened.splits), {}
    reports: dict[str, RunReport] = {}
    if annotator is not None:
        try:
            dataset, reports = _annotated(annotator, opened, splits, settings.pilot)
            history = _history(annotator, dataset)
        finally:
            annotator.close()
    dataset = {split: _combined(rows, split, emotions, settings) for split, rows in dataset.items()}
    source = opened.vote_source or NOT_STATED
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-augmentation-") as work:
        about = Path(work) / "preparation"
        notes = opened.notes(next(iter(dataset.values())))
        augmented, plan = augment_splits(dataset, settings, about, emotions=emotions, notes=notes)
        facts = data_facts(augmented)
        preparation = _preparation(settings, annotator, reports, history, facts["splits"], source)
        if plan is not None:
            mixed = facts["splits"]["train"]["mixed_rows"]
            preparation["dime_aug"] = {**_augmentation(settings), "num_mixed": mixed, **plan.to_dict()}

        def describe(part: Path) -> None:
            if about.is_dir():
                shutil.move(about, part / "preparation")
            write_json(part / PREPARATION_NAME, preparation)
            write_dataset_card(part, facts)

        write_dataset(
            augmented,
            folder,
            description="Prepared by hf-emo-dist annotate. What was done is in preparation.json.",
            vote_source=_vote_source(source, annotator, splits),
            emotions=emotions,
            overwrite=settings.overwrite,
            describe=describe,
        )
    return reports


def _open(settings: PrepareSettings) -> OpenedDataset:
    if settings.dataset is None:
        raise ValueError(
            "dataset is missing. Mend: name a folder that `hf-emo-dist read table TABLE AUDIO_DIR OUTPUT` wrote, or a "
            "Hub id."
        )
    return open_dataset(
        settings.dataset,
        revision=settings.dataset_revision,
        emotions=settings.emotions,
        vote_source=settings.vote_source,
    ).first(settings.limit)


def _annotated_splits(settings: PrepareSettings, opened: OpenedDataset) -> list[str]:
    if list(settings.annotate_splits) == ["all"]:
        return list(opened.splits)
    splits = list(settings.annotate_splits)
    unknown = [split for split in splits if split not in opened.splits]
    if unknown:
        raise ValueError(
            f"There is no split {', '.join(unknown)} (there are {', '.join(opened.splits)}). Mend: see annotate_splits."
        )
    return splits


def _annotated(
    annotator: Annotator, opened: OpenedDataset, splits: Sequence[str], pilot: int
) -> tuple[dict[str, Dataset], dict[str, RunReport]]:
    from ..annotation.run.run_report import AnnotationIncomplete

    dataset, reports = {}, {}
    for split, rows in opened.splits.items():
        if split not in splits:  # the splits of one data set have the same columns
            dataset[split] = annotator.without_votes(rows)
            continue
        dataset[split], reports[split] = annotator.annotate(rows, pilot)
        if not reports[split].complete:
            raise AnnotationIncomplete(reports[split])
    return dataset, reports


def _combined(rows: Dataset, split: str, emotions: Sequence[str], settings: PrepareSettings) -> Dataset:
    combined = rows.map(
        combine_votes,
        fn_kwargs={
            "emotions": list(emotions),
            "empty": settings.empty,
            "human_weight": settings.human_weight,
            "synthetic_weight": settings.synthetic_weight,
            "distribution_weight": settings.distribution_weight,
        },
        batched=True,
        desc=f"Combining votes of {split}",
    )
    if settings.empty != "drop":
        return combined
    return combined.filter(
        lambda batch: [p is not None for p in batch], input_columns="emotion_distribution", batched=True
    )


def _vote_source(source: str, annotator: Annotator | None, splits: Sequence[str]) -> str:
    if annotator is None:
        return source
    backend = annotator.backend
    who = SIMULATED_ANNOTATORS if backend.name == "simulated" else f"{backend.model}, no person"
    return (
        f"{source} Beside them, synthetic votes by {who}, in {', '.join(splits)}; human_distribution is without them."
    )


def _augmentation(settings: PrepareSettings) -> dict[str, Any]:
    """The settings of DiME-Aug, without paths."""
    values = {entry.name: getattr(settings, entry.name) for entry in fields(AugmentationArguments)}
    left_out = ("augment", "augment_backbone", "augment_num_proc", "augment_examples")
    return {"preset": settings.augment} | {k: v for k, v in values.items() if k not in left_out and v is not None}


def _history(annotator: Annotator, dataset: Mapping[str, Dataset]) -> dict[str, Any]:
    """Who answered and what it cost, of the votes that the data set has: from the ledger, so whichever run they came
    in.
    """
    versions: Counter[str] = Counter()
    cost: float | None = 0.0
    for rows in dataset.values():
        for batch in rows.select_columns("synthetic_annotations").iter(batch_size=1000):
            entries = [entry for row in batch["synthetic_annotations"] for entry in row]
            versions.update(entry["model"] for entry in entries)
            for record in annotator.ledger.lookup([entry["key"] for entry in entries]).values():
                cost = None if cost is None or record.cost_usd is None else cost + record.cost_usd
    return {"model_versions": dict(versions), "cost_usd": cost}


def _preparation(
    settings: PrepareSettings,
    annotator: Annotator | None,
    reports: dict[str, RunReport],
    history: dict[str, Any],
    counts: Mapping[str, Mapping[str, Any]],
    source: str,
) -> dict[str, Any]:
    """What was done, for the cards; no paths and no secrets."""
    result: dict[str, Any] = {
        "version": __version__,
        "source": {"vote_source": source},
        "splits": counts,
        "combine": {
            name: getattr(settings, name)
            for name in ("human_weight", "synthetic_weight", "distribution_weight", "empty")
        },
    }
    if annotator is not None:
        failures: Counter[str] = Counter()
        for report in reports.values():
            failures.update({outcome: len(ids) for outcome, ids in report.failures.items()})
        result["annotation"] = {
            **annotator.describe(),
            **history,
            "splits": list(reports),
            "num_votes": sum(history["model_versions"].values()),
            "num_requests": sum(report.requests for report in reports.values()),
            "failures": dict(failures),
            "skipped": sorted(row_id for report in reports.values() for row_id in report.skipped),
        }
    return result
