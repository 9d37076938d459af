"""`hf-emo-dist card FOLDER`: the model card of a checkpoint, or the card of a prepared data set."""

from __future__ import annotations

import sys
from pathlib import Path

from ..hub import write_dataset_card, write_model_card
from .arguments import Options, Values


def options() -> Options:
    """Those of `write_model_card`."""
    return Options(
        write_model_card,
        without=("layout",),
        about="Write the card of a checkpoint's folder; or, of a data set's folder, the section of its card on votes "
        "and preparation.",
    )


def run(values: Values) -> None:
    """Write the card and say where."""
    folder = Path(values["checkpoint"])
    if any((folder / "data").glob("*.parquet")):
        sys.stdout.write(f"wrote {write_dataset_card(folder)}\n")
        return
    file = Path(values["output"] or folder / "README.md")
    if not values.call(write_model_card):
        raise FileExistsError(
            f"{file} was edited by hand and is kept. Mend: add --overwrite, or write elsewhere with --output."
        )
    sys.stdout.write(f"wrote {file}\n")
