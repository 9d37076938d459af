"""From a data set to a prepared one: check audio, annotate, combine votes, augment the training split, write."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..annotation.run.run_report import AnnotationIncomplete, RunReport
from ..audio.check import check_audio
from ..augmentation.augment_splits import augment_splits, check_augmentation
from ..data.data_facts import data_facts
from ..data.opened import NOT_STATED
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

logger = logging.getLogger(__name__)


def estimate_preparation(settings: PrepareSettings) -> dict[str, Estimate]:
    """Estimate what annotating each split will take. Nothing is sent, except for a pilot.

    Raises:
        ValueError, OSError: A setting, the data or the ledger does not fit.
    """
    opened = settings.open()
    splits = opened.chosen(settings.annotate_splits, "annotate_splits")
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
    opened = settings.open()
    emotions = opened.emotions()
    chosen = opened.chosen(settings.annotate_splits, "annotate_splits")
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

    dataset = dict(opened.splits)
    reports: dict[str, RunReport] = {}
    source = opened.vote_source or NOT_STATED
    weights = settings.arguments_of(combine_votes)
    preparation: dict[str, Any] = {"version": __version__, "source": {"vote_source": source}, "combine": weights}
    if annotator is not None:
        try:
            for split, rows in opened.splits.items():
                if split not in chosen:  # the splits of one data set have the same columns
                    dataset[split] = annotator.without_votes(rows)
                    continue
                dataset[split], reports[split] = annotator.annotate(rows, settings.pilot)
                if not reports[split].complete:
                    raise AnnotationIncomplete(reports[split])
            preparation["annotation"] = _about_votes(annotator, dataset, reports)
        finally:
            annotator.close()
        simulated = annotator.backend.name == "simulated"
        who = SIMULATED_ANNOTATORS if simulated else f"{annotator.backend.model}, no person"
        source += f" Beside them, synthetic votes by {who}, in {', '.join(chosen)}; human_distribution is without them."
    for split, rows in dataset.items():
        dataset[split] = rows.map(
            combine_votes,
            fn_kwargs={"emotions": list(emotions), **weights},
            batched=True,
            desc=f"Combining votes of {split}",
        )
        if settings.empty == "drop":
            dataset[split] = dataset[split].filter(
                lambda batch: [p is not None for p in batch], input_columns="emotion_distribution", batched=True
            )

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-augmentation-") as work:
        about = Path(work) / "preparation"
        notes = opened.notes(next(iter(dataset.values())))
        augmented, plan = augment_splits(dataset, settings, about, emotions=emotions, notes=notes)
        facts = data_facts(augmented)
        preparation["splits"] = facts["splits"]
        if plan is not None:
            mixed = facts["splits"]["train"]["mixed_rows"]
            preparation["dime_aug"] = {**settings.described(), "num_mixed": mixed, **plan.to_dict()}

        def describe(part: Path) -> None:
            if about.is_dir():
                shutil.move(about, part / "preparation")
            write_json(part / PREPARATION_NAME, preparation)
            write_dataset_card(part, facts)

        write_dataset(
            augmented,
            folder,
            description="Prepared by hf-emo-dist annotate. What was done is in preparation.json.",
            vote_source=source,
            emotions=emotions,
            overwrite=settings.overwrite,
            describe=describe,
        )
    return reports


def _about_votes(
    annotator: Annotator, splits: Mapping[str, Dataset], reports: Mapping[str, RunReport]
) -> dict[str, Any]:
    """Facts for `preparation.json`, without paths and secrets: who answered, what it cost, and what failed."""
    versions: Counter[str] = Counter()
    cost: float | None = 0.0
    for rows in splits.values():
        for batch in rows.select_columns("synthetic_annotations").iter(batch_size=1000):
            entries = [entry for row in batch["synthetic_annotations"] for entry in row]
            versions.update(entry["model"] for entry in entries)
            # from the ledger, since an earlier run may have paid
            for record in annotator.ledger.lookup([entry["key"] for entry in entries]).values():
                cost = None if cost is None or record.cost_usd is None else cost + record.cost_usd
    failures: Counter[str] = Counter()
    for report in reports.values():
        failures.update({outcome: len(ids) for outcome, ids in report.failures.items()})
    return {
        **annotator.describe(),
        "model_versions": dict(versions),
        "cost_usd": cost,
        "splits": list(reports),
        "num_votes": sum(versions.values()),
        "num_requests": sum(report.requests for report in reports.values()),
        "failures": dict(failures),
        "skipped": sorted(row_id for report in reports.values() for row_id in report.skipped),
    }
