"""From a data set to a prepared one: check audio, annotate, combine votes, augment the training split, write."""

from __future__ import annotations

import inspect
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .. import __version__
from ..annotation.annotator import Annotator
from ..annotation.backends import make_backend
from ..annotation.run.run_report import AnnotationIncomplete, RunReport
from ..annotation.types import FAILURES
from ..audio.check import check_audio
from ..augmentation.augment_splits import AugmentationArguments, augment_splits, check_augmentation
from ..data.data_facts import data_facts
from ..data.opened import NOT_STATED, OpenedDataset, open_dataset
from ..data.output import check_folder, write_json
from ..data.preparation_file import PREPARATION_NAME
from ..data.rows import SIMULATED_ANNOTATORS
from ..data.writing import write_dataset
from ..hub.cards.dataset_card import write_dataset_card
from ..votes import combine_votes

if TYPE_CHECKING:
    from datasets import Dataset

    from ..annotation.run.estimate import Estimate

logger = logging.getLogger(__name__)


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
    max_failure_rate: float = _of(Annotator, "max_failure_rate")
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
    if annotator is not None and annotator.backend.destination and opened.restricted and not settings.allow_upload:
        raise ValueError(
            f"{opened.name!r} is marked as restricted: its terms forbid passing the audio on, and "
            f"{annotator.backend.name} would send it to {annotator.backend.destination}. Mend: where your licence "
            "allows it, --allow_upload."
        )
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
    if opened.restricted:  # a card is written anew, and must not lose it
        preparation["source"]["restricted"] = True
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
