"""`hf-emo-dist augment DATASET OUTPUT_DIR`: the training split balanced by DiME-Aug, the data set written anew."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from .. import __version__
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

    In its folder `preparation` lie the class mass before and after (table and plot), the plan, and a page to listen
    to; what preparation.json said of the data before is kept beside what was done now.

    Args:
        dataset: Data set with splits: a local Parquet folder or a Hub id.
        output_dir: Folder of the augmented data set.
        settings: How it is augmented.
        train_split: Split to augment.
        vote_source: Who gave the votes. Default: what the card says.
        overwrite: Replace a data set in output_dir.
    """
    from ..augmentation.augment_splits import augment_splits
    from ..data.data_facts import data_facts
    from ..data.opened import NOT_STATED, open_dataset
    from ..data.output import claimed, working_folder, write_json
    from ..data.preparation_file import COMBINER_NAME, PREPARATION_NAME
    from ..data.rows import notes_about
    from ..data.writing import check_splits, write_dataset
    from ..hub.cards.dataset_card import write_dataset_card

    if settings.augment == "none":
        raise ValueError("augment=none would copy the data. Mend: use --augment default or --augment paper.")
    with claimed(output_dir, overwrite, source=dataset) as folder, working_folder(folder) as work:
        opened = open_dataset(dataset, vote_source=vote_source)
        check_splits(opened.splits)
        source = opened.vote_source
        notes = notes_about(opened.splits[train_split], source) if train_split in opened.splits else []
        about = work / "preparation"
        augmented, report = augment_splits(opened.splits, settings, about, train_split=train_split, notes=notes)
        assert report is not None  # there is something to augment
        facts = data_facts(augmented)
        mixed = facts["splits"][train_split]["mixed_rows"]
        told = {"vote_source": source or NOT_STATED, **({"restricted": True} if opened.restricted else {})}
        preparation = {
            **opened.preparation,
            "version": __version__,
            "source": {**opened.preparation.get("source", {}), **told},
            "splits": facts["splits"],
            "dime_aug": {**settings.described(), "num_mixed": mixed, **report.to_dict()},
        }
        combiner = Path(dataset).expanduser() / COMBINER_NAME

        def describe(part: Path) -> None:
            shutil.move(about, part / "preparation")
            write_json(part / PREPARATION_NAME, preparation)
            if combiner.is_file():  # made the targets, which are mixed as they are
                shutil.copyfile(combiner, part / COMBINER_NAME)
            write_dataset_card(part, facts)

        write_dataset(
            augmented,
            folder,
            description=f"{dataset} with a training split that DiME-Aug (preset {settings.augment}) balanced: rows "
            "with `mixed_from` were mixed from two others and have no votes.",
            vote_source=source or NOT_STATED,
            overwrite=overwrite,
            describe=describe,
        )
    sys.stdout.write(
        f"{report}\nwrote {output_dir}; table, plot, plan and a page to listen to are in {output_dir}/preparation\n"
    )
