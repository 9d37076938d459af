"""The options of `recipes/prepare.py` and `hf-emo-dist annotate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..augmentation.augment_splits import AugmentationArguments

if TYPE_CHECKING:
    from ..annotation.annotator import Annotator

__all__ = ["PrepareSettings"]

_RUN = (
    "concurrency",
    "requests_per_minute",
    "tokens_per_minute",
    "max_cost_usd",
    "max_tokens",
    "timeout_s",
    "max_tries",
    "patience_s",
)


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class PrepareSettings(AugmentationArguments):
    """What is prepared, who votes, how votes are combined, and how the training split is augmented."""

    dataset: str | None = _option(None, "data set to prepare: a local Parquet folder or a Hub id")
    output: str | None = _option(None, "folder to write")
    dataset_revision: str | None = _option(None, "revision of a data set on the Hub")
    emotions: str | None = _option(None, "emotions in order, comma separated; default: those of human_distribution")
    backend: str = _option(
        "gemini", "who votes: gemini, openai (any chat-completions server), simulated, your own module:Name, or none"
    )
    model: str | None = _option(None, "model to ask; default: the backend's")
    backend_options: dict[str, Any] | None = field(
        default=None,
        metadata={"help": "further arguments of the backend, as YAML: '{base_url: http://localhost:8000/v1}'"},
    )
    preset: str = _option("default", "default, or paper: panel, prompts and reading of replies as in arXiv 2601.14620")
    num_annotations: int = _option(10, "annotators that give one label")
    num_distributions: int = _option(0, "annotators that state a distribution, beside these")
    prompts: str | None = _option(None, "YAML file with your own prompts")
    use_transcript: bool = _option(True, "show the transcript to annotators")
    annotate_splits: str = _option("train", "splits to annotate, comma separated, or all; evaluation reads human votes")
    ledger: str | None = _option(None, "SQLite file of replies; default: in the Hugging Face cache")
    concurrency: int = _option(16, "requests in flight at most")
    requests_per_minute: float | None = _option(
        None, "bound on requests a minute, shared by all processes on the ledger"
    )
    tokens_per_minute: float | None = _option(None, "bound on tokens a minute, likewise")
    max_cost_usd: float | None = _option(None, "cap on what the ledger may cost in all, in US dollars")
    max_tokens: int | None = _option(None, "cap on the ledger's tokens in all")
    timeout_s: float = _option(120.0, "seconds to wait for one reply")
    max_tries: int = _option(6, "requests for one reply while the service or the connection fails")
    patience_s: float = _option(600.0, "seconds to go on while the service refuses everything (429)")
    retry_failed: str = _option(
        "false", "ask again where the ledger has a failure: true, false, or outcomes such as timeout,server"
    )
    allow_upload: bool = _option(
        False, "send audio of restricted corpora to a remote service: your licence must allow it"
    )
    pilot: int = _option(0, "clips to annotate first, to measure what a request takes")
    dry_run: bool = _option(False, "estimate and stop: nothing is sent, unless pilot is given")
    limit: int | None = _option(None, "only the first so many rows of each split")
    human_weight: float = _option(1.0, "votes that a human vote counts for")
    synthetic_weight: float = _option(1.0, "votes that a synthetic label counts for")
    distribution_weight: float = _option(1.0, "votes that a stated distribution counts for")
    empty: str = _option("error", "rows without votes: error, drop (leaves them out) or uniform")
    vote_source: str | None = _option(None, "where the human votes come from; default: what the data set's card says")
    overwrite: bool = _option(False, "replace a data set that is already in the output folder")
    seed: int = _option(42, "of the paper preset's temperatures")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.empty not in ("error", "drop", "uniform"):
            raise ValueError(f"empty must be error, drop or uniform, got {self.empty!r}.")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, got {self.limit}.")

    def annotator(self, emotions: tuple[str, ...]) -> Annotator | None:
        """The annotator that the settings describe; None where nobody votes.

        Raises:
            ValueError: An option does not fit.
        """
        from ..annotation.annotator import Annotator
        from ..annotation.backends import make_backend

        if self.backend == "none":
            return None
        return Annotator(
            make_backend(self.backend, self.model, self.preset, self.backend_options),
            emotions=emotions,
            preset=self.preset,
            num_annotations=self.num_annotations,
            num_distributions=self.num_distributions,
            prompts=self.prompts,
            use_transcript=self.use_transcript,
            ledger=self.ledger,
            allow_upload=self.allow_upload,
            seed=self.seed,
            retry_failed=self._retry(),
            **{name: getattr(self, name) for name in _RUN},
        )

    def _retry(self) -> bool | tuple[str, ...]:
        from ..annotation.types import FAILURES

        text = self.retry_failed.strip().lower()
        if text in ("true", "false"):
            return text == "true"
        outcomes = tuple(part.strip() for part in text.split(",") if part.strip())
        unknown = [part for part in outcomes if part not in FAILURES]
        if unknown or not outcomes:
            raise ValueError(
                f"retry_failed must be true, false, or some of {', '.join(FAILURES)}; got {self.retry_failed!r}."
            )
        return outcomes
