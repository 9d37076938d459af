"""`hf-emo-dist augment DATASET OUTPUT_DIR`: the training split balanced by DiME-Aug, the data set written anew."""

from __future__ import annotations

import sys
from pathlib import Path

from ..augmentation.augment_splits import AugmentationArguments
from ..engines.choice import EngineChoice
from .arguments import Options, Values

#: Options of DiME-Aug that are gone.
MOVED = {"augment_space": "leave it out: mixing in the embedding space was no better than mixing waveforms"}


def options() -> Options:
    """Those of `augment`, whose preset is not `none`, which would copy the data; and where it runs."""
    return Options(augment, EngineChoice, defaults={"augment": "default"}, moved=MOVED)


def run(values: Values) -> None:
    """Augment, write, and print the table."""
    with values.call(EngineChoice).open():
        values.call(augment)


def augment(
    dataset: str,
    output_dir: str,
    *,
    settings: AugmentationArguments,
    train_split: str = "train",
    vote_source: str | None = None,
    overwrite: bool = False,
) -> None:
    """Balance the training split of a data set by mixing neighbouring utterances (DiME-Aug), and write the whole data
    set anew.

    Beside the data set, in OUTPUT_DIR_report, lie the class mass before and after (table and plot), the plan, and a
    page to listen to.

    Args:
        dataset: Data set with splits: a local Parquet folder or a Hub id.
        output_dir: Folder of the augmented data set.
        settings: How it is augmented.
        train_split: Split to augment.
        vote_source: Who gave the votes. Default: what the card says.
        overwrite: Replace a data set in output_dir.
    """
    from ..augmentation.augment_splits import augment_splits
    from ..data.loading import folder_card, load_emotion_dataset
    from ..data.output import check_folder
    from ..data.rows import notes_about
    from ..data.writing import check_splits, write_dataset

    if settings.augment == "none":
        raise ValueError("augment=none would copy the data. Mend: use --augment default or --augment paper.")
    check_folder(Path(output_dir).expanduser().resolve(), overwrite, dataset)
    source = vote_source or folder_card(dataset).get("vote_source")
    splits = load_emotion_dataset(dataset)
    if not isinstance(splits, dict):
        splits = {train_split: splits}
    check_splits(splits)
    notes = notes_about(splits[train_split], source) if train_split in splits else []
    report_dir = f"{output_dir.rstrip('/')}_report"
    augmented, report = augment_splits(splits, settings, report_dir, train_split=train_split, notes=notes)
    write_dataset(
        augmented,
        output_dir,
        description=f"{dataset} with a training split that DiME-Aug (preset {settings.augment}) balanced: rows with "
        "`mixed_from` were mixed from two others and have no votes.",
        vote_source=source or "Not stated.",
        overwrite=overwrite,
    )
    sys.stdout.write(f"{report}\nwrote {output_dir}; table, plot, plan and a page to listen to are in {report_dir}\n")
