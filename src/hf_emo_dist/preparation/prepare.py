"""From a data set to a prepared one: check audio, annotate, combine votes, augment the training split, write."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..annotation.annotated_splits import annotate_splits
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
    from ..annotation.run.estimate import Estimate
    from ..annotation.run.run_report import RunReport

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
            dataset, reports, preparation["annotation"] = annotate_splits(
                annotator, opened.splits, chosen, settings.pilot
            )
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
