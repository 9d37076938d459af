"""`hf-emo-dist card`: the model card of a checkpoint, or the card of a prepared data set."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the subcommand."""
    parser.add_argument("folder", help="a checkpoint, such as the output folder of a training, or a prepared data set")
    parser.add_argument("--scores", help="scores.json of hf-emo-dist evaluate (default: the one in the folder)")
    parser.add_argument("--dataset", help="data set of the training, where it was not recorded: folder or Hub id")
    parser.add_argument("--repo_id", help="where the checkpoint will be on the Hub, owner/name")
    parser.add_argument("--base_model", help="Hub id of the backbone, where the training used a local copy")
    parser.add_argument("--license", help="of the checkpoint (default: worked out from those of backbone and data)")
    parser.add_argument("--output", help="file to write (default: README.md in the folder)")
    parser.add_argument("--overwrite", action="store_true", help="replace a README that was edited by hand")


def run(args: argparse.Namespace) -> None:
    """Writes the card and says where.

    Raises:
        FileExistsError: the README was edited by hand, and `--overwrite` is not there.
        OSError: the folder is neither a checkpoint nor a data set.
    """
    folder = Path(args.folder)
    if any((folder / "data").glob("*.parquet")):
        from ..hub.cards.dataset_card import write_dataset_card

        sys.stdout.write(f"wrote {write_dataset_card(folder)}\n")
        return
    from ..hub.cards.model_card import write_model_card

    file = Path(args.output) if args.output else folder / "README.md"
    written = write_model_card(
        folder,
        file,
        overwrite=args.overwrite,
        repo_id=args.repo_id,
        scores=args.scores,
        dataset=args.dataset,
        base_model=args.base_model,
        license=args.license,
    )
    if not written:
        raise FileExistsError(
            f"{file} was edited by hand and is kept. Mend: add --overwrite, or write elsewhere with --output."
        )
    sys.stdout.write(f"wrote {file}\n")
