"""`hf-emo-dist simulate OUTPUT`: synthetic speech with known emotion distributions, and votes drawn from them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..corpora.simulated import SIMULATED_DESCRIPTION, SIMULATED_VOTE_SOURCE, simulate_corpus
from ..data.output import claimed
from .arguments import Options, Values

if TYPE_CHECKING:
    from datasets import DatasetDict


def options() -> Options:
    """Those of `simulate_corpus`, and where to write."""
    return Options(
        _write,
        simulate_corpus,
        about="Write the simulated corpus: synthetic speech with known emotion distributions, and votes drawn from "
        "them.",
        moved={"votes": "write --votes_per_utterance 5,9"},
    )


def run(values: Values) -> None:
    """Simulate, write and report."""
    with claimed(values["output"], values["overwrite"]):
        values.call(_write, dataset=values.call(simulate_corpus))


def _write(output: str, *, dataset: DatasetDict, overwrite: bool = False) -> None:
    """Write the corpus.

    Args:
        output: Folder to write.
        overwrite: Replace a data set that is already in OUTPUT.
    """
    from ..data.data_facts import describe_dataset
    from ..data.writing import write_dataset

    folder = write_dataset(
        dataset,
        output,
        title="Simulated emotion distributions",
        description=SIMULATED_DESCRIPTION,
        vote_source=SIMULATED_VOTE_SOURCE,
        license="cc0-1.0",
        overwrite=overwrite,
    )
    sys.stdout.write(f"{describe_dataset(dataset)}\nSimulated speech and votes. Wrote {folder}\n")
