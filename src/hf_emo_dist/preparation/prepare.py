"""What `recipes/prepare.py` does: check audio, annotate, combine votes, augment the training split, write a Parquet folder."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..audio.check import check_audio
from ..augmentation.augment_splits import AugmentationArguments, augment_splits, check_augmentation
from ..data.data_facts import data_facts
from ..data.loading import emotions_of, load_emotion_dataset, read_vote_source
from ..data.output import check_folder
from ..data.preparation_file import PREPARATION_NAME
from ..data.rows import SIMULATED_ANNOTATORS, notes_about
from ..data.writing import write_dataset
from ..emotions import validate_emotions
from ..hub.cards.dataset_card import write_dataset_card
from ..votes import combine_votes
from .settings import PrepareSettings

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

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
    dataset, annotator, splits = _opened(settings)
    if annotator is None:
        raise ValueError("With backend none nobody is asked. Mend: name a backend.")
    try:
        return {split: annotator.estimate(dataset[split], settings.pilot) for split in splits}
    finally:
        annotator.close()


def prepare_dataset(settings: PrepareSettings) -> dict[str, RunReport]:
    """Check audio, annotate, combine, augment and write; returns the report of each split that was annotated.

    Beside the data set lie `preparation.json`, which says what was done, and, where training data was augmented, a folder `preparation` with
    the plan, a table and a plot of the class mass, and a page to listen to.

    Raises:
        AnnotationIncomplete: A run had to stop. Replies are in the ledger; the same call goes on from there. Nothing is written.
        AudioError: Clips cannot be used; the message lists them.
        ValueError, OSError: A setting, the data, the ledger or the output folder does not fit.
    """
    from ..annotation.run.run_report import AnnotationIncomplete

    if settings.output is None:
        raise ValueError("output is missing. Mend: name a folder to write.")
    folder = Path(settings.output).expanduser()
    check_folder(folder, settings.overwrite)  # before money is spent
    dataset, annotator, splits = _opened(settings)
    emotions = _emotions(settings, dataset)
    if settings.augment != "none" and "train" not in dataset:
        raise ValueError(f"There is no split 'train' to augment (there are {', '.join(dataset)}). Mend: augment none.")
    for split, rows in dataset.items():
        logger.info("%s: checking %d clips", split, len(rows))
        check_audio(rows, long_audio="window").raise_if_any()
    if settings.augment != "none":
        check_augmentation(settings, dataset["train"])  # before money is spent too
    reports: dict[str, RunReport] = {}
    try:
        for split in dataset if annotator is not None else ():
            assert annotator is not None
            if split not in splits:  # the splits of one data set have the same columns
                dataset[split] = annotator.without_votes(dataset[split])
                continue
            dataset[split], reports[split] = annotator.annotate(dataset[split], settings.pilot)
            if not reports[split].complete:
                raise AnnotationIncomplete(reports[split])
        history = _history(annotator, dataset)
    finally:
        if annotator is not None:
            annotator.close()
    for split in dataset:
        combined = dataset[split].map(
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
        if settings.empty == "drop":
            combined = combined.filter(
                lambda batch: [p is not None for p in batch], input_columns="emotion_distribution", batched=True
            )
        dataset[split] = combined
    source = (
        settings.vote_source or read_vote_source(str(settings.dataset)) or "not stated by whoever made the data set."
    )
    with tempfile.TemporaryDirectory(dir=_parent(folder), prefix=".augmentation-") as part:
        about = Path(part) / "preparation"
        notes = notes_about(next(iter(dataset.values())), source)
        dataset, plan = augment_splits(dataset, settings, about, emotions=emotions, notes=notes)
        write_dataset(
            dataset,
            folder,
            description="Prepared by recipes/prepare.py. What was done is in preparation.json.",
            vote_source=_vote_source(source, annotator, splits),
            emotions=emotions,
            overwrite=settings.overwrite,
        )
        shutil.rmtree(folder / "preparation", ignore_errors=True)
        if about.is_dir():
            shutil.move(about, folder / "preparation")
    facts = data_facts(dataset)
    preparation = _preparation(settings, annotator, reports, history, facts["splits"], source)
    if plan is not None:
        mixed = facts["splits"]["train"]["mixed_rows"]
        preparation["dime_aug"] = {**_augmentation(settings), "num_mixed": mixed, **plan.to_dict()}
    (folder / PREPARATION_NAME).write_text(json.dumps(preparation, indent=2, default=str) + "\n", encoding="utf-8")
    write_dataset_card(folder, facts)
    return reports


def _opened(settings: PrepareSettings) -> tuple[DatasetDict, Annotator | None, list[str]]:
    from datasets import Dataset, DatasetDict

    if settings.dataset is None:
        raise ValueError(
            "dataset is missing. Mend: name a folder that dataset_scripts/from_table.py wrote, or a Hub id."
        )
    loaded = load_emotion_dataset(settings.dataset, revision=settings.dataset_revision)
    dataset = DatasetDict({"train": loaded}) if isinstance(loaded, Dataset) else loaded
    if settings.limit is not None:
        dataset = DatasetDict({split: _first(rows, settings.limit) for split, rows in dataset.items()})
    splits = list(dataset)
    if settings.annotate_splits.strip() != "all":
        splits = [part.strip() for part in settings.annotate_splits.split(",") if part.strip()]
        unknown = [split for split in splits if split not in dataset]
        if unknown:
            raise ValueError(
                f"There is no split {', '.join(unknown)} (there are {', '.join(dataset)}). Mend: see annotate_splits."
            )
    return dataset, settings.annotator(_emotions(settings, dataset)), splits


def _emotions(settings: PrepareSettings, dataset: DatasetDict) -> tuple[str, ...]:
    if settings.emotions:
        return validate_emotions([name.strip() for name in settings.emotions.split(",")])
    return emotions_of(dataset)


def _first(rows: Dataset, number: int) -> Dataset:
    return rows.select(range(min(number, len(rows))))


def _vote_source(source: str, annotator: Annotator | None, splits: list[str]) -> str:
    if annotator is None:
        return source
    backend = annotator.backend
    who = SIMULATED_ANNOTATORS if backend.name == "simulated" else f"{backend.model}, no person"
    return (
        f"{source} Beside them, synthetic votes by {who}, in {', '.join(splits)}; human_distribution is without them."
    )


def _parent(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder.parent


def _augmentation(settings: PrepareSettings) -> dict[str, Any]:
    """The settings of DiME-Aug, without paths."""
    values = {entry.name: getattr(settings, entry.name) for entry in fields(AugmentationArguments)}
    left_out = ("augment", "augment_backbone", "augment_num_proc", "augment_examples")
    return {"preset": settings.augment} | {k: v for k, v in values.items() if k not in left_out and v is not None}


def _history(annotator: Annotator | None, dataset: DatasetDict) -> dict[str, Any]:
    """Who answered and what it cost, of the votes that the data set has: from the ledger, so whichever run they came in."""
    versions: Counter[str] = Counter()
    cost: float | None = 0.0
    for rows in dataset.values() if annotator is not None else ():
        assert annotator is not None
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
