"""The settings of a preparation: what is prepared, who votes, how votes are combined, how it is augmented."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from ..annotation.annotator import Annotator
from ..augmentation.augment_splits import AugmentationArguments
from ..data.opened import OpenedDataset, open_dataset
from ..votes import combine_votes


def _of(source: Callable[..., Any], name: str) -> Any:
    """A field with the default of an argument elsewhere; the command line takes its help from there, too."""
    return field(default=inspect.signature(source).parameters[name].default, metadata={"mirrors": source})


@dataclass
class PrepareSettings(AugmentationArguments):
    """What is prepared, who votes, how votes are combined, and how the training split is augmented.

    Those that are not described here are arguments of `Annotator`, `combine_votes` and `AugmentationArguments`.

    Attributes:
        dataset: Data set to prepare: a local Parquet folder or a Hub id.
        output: Folder to write.
        dataset_revision: Revision of a data set on the Hub.
        emotions: Label set, in order. Default: those of human_distribution.
        backend: Who votes: gemini, openai (any chat-completions server), simulated, `module:Name` of your own code, or
            none.
        model: Model to ask. Default: the backend's.
        backend_options: Further arguments of the backend, as YAML: '{base_url: http://localhost:8000/v1}'.
        annotate_splits: Splits to annotate, or all; evaluation reads human votes.
        pilot: Clips to annotate first, to measure what a request takes.
        dry_run: Estimate and stop: nothing is sent, unless pilot is given.
        limit: Only the first so many rows of each split.
        vote_source: Where the human votes come from. Default: what the data set's card says.
        overwrite: Replace a data set that is already in the output folder.
    """

    dataset: str | None = None
    output: str | None = None
    dataset_revision: str | None = None
    emotions: Sequence[str] | None = None
    backend: str = _of(Annotator, "backend")
    model: str | None = None
    backend_options: dict[str, Any] | None = None
    preset: str = _of(Annotator, "preset")
    num_annotations: int = _of(Annotator, "num_annotations")
    num_distributions: int = _of(Annotator, "num_distributions")
    prompts: str | None = _of(Annotator, "prompts")
    use_transcript: bool = _of(Annotator, "use_transcript")
    annotate_splits: Sequence[str] = ("train",)
    ledger: str | None = _of(Annotator, "ledger")
    concurrency: int = _of(Annotator, "concurrency")
    requests_per_minute: float | None = _of(Annotator, "requests_per_minute")
    tokens_per_minute: float | None = _of(Annotator, "tokens_per_minute")
    max_cost_usd: float | None = _of(Annotator, "max_cost_usd")
    max_tokens: int | None = _of(Annotator, "max_tokens")
    timeout_s: float = _of(Annotator, "timeout_s")
    max_tries: int = _of(Annotator, "max_tries")
    patience_s: float = _of(Annotator, "patience_s")
    retry_failed: bool | Sequence[str] = _of(Annotator, "retry_failed")
    allow_upload: bool = _of(Annotator, "allow_upload")
    pilot: int = 0
    dry_run: bool = False
    limit: int | None = None
    human_weight: float = _of(combine_votes, "human_weight")
    synthetic_weight: float = _of(combine_votes, "synthetic_weight")
    distribution_weight: float = _of(combine_votes, "distribution_weight")
    empty: Literal["error", "drop", "uniform"] = _of(combine_votes, "empty")
    vote_source: str | None = None
    overwrite: bool = False
    seed: int = _of(Annotator, "seed")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("emotions", "annotate_splits", "retry_failed"):
            if isinstance(getattr(self, name), str):  # its letters would be taken for names
                raise ValueError(f"{name}={getattr(self, name)!r} is one text. Mend: a list of names.")
        if self.empty not in ("error", "drop", "uniform"):
            raise ValueError(f"empty={self.empty!r} is not known. Mend: empty must be error, drop or uniform.")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit={self.limit} leaves no rows. Mend: at least 1.")

    def arguments_of(self, source: Callable[..., Any]) -> dict[str, Any]:
        """The settings that mirror arguments of a function or class, by name."""
        return {e.name: getattr(self, e.name) for e in fields(self) if e.metadata.get("mirrors") is source}

    def open(self) -> OpenedDataset:
        """Open the data set."""
        if self.dataset is None:
            raise ValueError(
                "dataset is missing. Mend: name a folder that `hf-emo-dist read table TABLE AUDIO_DIR OUTPUT` wrote, "
                "or a Hub id."
            )
        opened = open_dataset(
            self.dataset, revision=self.dataset_revision, emotions=self.emotions, vote_source=self.vote_source
        )
        return opened.first(self.limit)

    def annotator(self, emotions: Sequence[str]) -> Annotator | None:
        """Make the annotator that the settings describe; None where nobody votes."""
        from ..annotation.backends import make_backend
        from ..annotation.types import FAILURES

        if self.backend == "none":
            return None
        retry = self.retry_failed
        if not isinstance(retry, bool) and (not retry or set(retry) - set(FAILURES)):
            raise ValueError(
                f"retry_failed={retry!r} is not known. Mend: retry_failed must be true, false, or some of "
                f"{', '.join(FAILURES)}."
            )
        backend = make_backend(self.backend, self.model, self.preset, self.backend_options)
        return Annotator(**{**self.arguments_of(Annotator), "backend": backend, "emotions": emotions})
