"""`hf-emo-dist card FOLDER`: the model card of a checkpoint, or the card of a prepared data set."""

from __future__ import annotations

import sys
from pathlib import Path

from .arguments import Options, Values

__all__ = ["card", "options", "run"]


def options() -> Options:
    """Those of `card`."""
    return Options(card)


def run(values: Values) -> None:
    """Write the card and say where."""
    values.call(card)


def card(
    folder: str,
    *,
    output: str | None = None,
    overwrite: bool = False,
    repo_id: str | None = None,
    scores: str | None = None,
    dataset: str | None = None,
    base_model: str | None = None,
    license: str | None = None,
) -> None:
    """Write the card of a checkpoint, or the section on votes and preparation in the card of a data set.

    Args:
        folder: A checkpoint, such as the output folder of a training, or a prepared data set.
        output: File to write. Default: README.md in the folder.
        overwrite: Replace a README that was edited by hand.
        repo_id: Where the checkpoint will be on the Hub, owner/name.
        scores: scores.json of hf-emo-dist evaluate. Default: the one in the folder.
        dataset: Data set of the training, where it was not recorded: folder or Hub id.
        base_model: Hub id of the backbone, where the training used a local copy.
        license: Of the checkpoint. Default: worked out from those of backbone and data.

    Raises:
        FileExistsError: The README was edited by hand, and `overwrite` is false.
        OSError: The folder is neither a checkpoint nor a data set.
    """
    if any((Path(folder) / "data").glob("*.parquet")):
        from ..hub.cards.dataset_card import write_dataset_card

        sys.stdout.write(f"wrote {write_dataset_card(folder)}\n")
        return
    from ..hub.cards.model_card import write_model_card

    file = Path(output) if output else Path(folder) / "README.md"
    written = write_model_card(
        folder,
        file,
        overwrite=overwrite,
        repo_id=repo_id,
        scores=scores,
        dataset=dataset,
        base_model=base_model,
        licence=license,
    )
    if not written:
        raise FileExistsError(
            f"{file} was edited by hand and is kept. Mend: add --overwrite, or write elsewhere with --output."
        )
    sys.stdout.write(f"wrote {file}\n")
