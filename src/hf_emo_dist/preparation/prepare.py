"""From a data set to a prepared one: check audio, annotate, combine votes, augment the training split, write."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .. import __version__
from .._fields import mirrored as _of
from ..annotation.annotator import Annotator
from ..annotation.backends import BackendChoice
from ..annotation.run.run_report import AnnotationIncomplete, RunReport
from ..annotation.shares import Share
from ..annotation.types import FAILURES
from ..augmentation.augment_splits import AugmentationArguments, augment_splits
from ..data.data_facts import data_facts
from ..data.map_engine import current_engine
from ..data.opened import NOT_STATED, OpenedDataset, open_dataset
from ..data.output import claimed, working_folder, write_json
from ..data.preparation_file import COMBINER_NAME, PREPARATION_NAME
from ..data.rows import SIMULATED_ANNOTATORS, notes_about
from ..data.writing import write_dataset
from ..hub.cards.dataset_card import write_dataset_card
from .clip_check import check_clips
from .combine_settings import CombineArguments
from .combine_splits import check_combining, combine_splits, learning_split
from .early_checks import check_before_paying
from .pilot import advice

if TYPE_CHECKING:
    from datasets import Dataset

    from ..annotation.run.estimate import Estimate

logger = logging.getLogger(__name__)


@dataclass
class PrepareSettings(AugmentationArguments, CombineArguments):
    """What is prepared, who votes, how votes are combined, and how the training split is augmented.

    Those that are not described here are arguments of `Annotator`, `CombineArguments` and `AugmentationArguments`.

    Attributes:
        dataset: Data set to prepare: a local Parquet folder or a Hub id.
        output: Folder to write.
        dataset_revision: Revision of a data set on the Hub.
        emotions: Label set, in order. Default: those of human_distribution.
        backend: Who votes: gemini, openai (any chat-completions server), transformers (an open model on this machine),
            simulated, `module:Name` of your own code, or none.
        model: Model to ask. Default: the backend's.
        backend_options: Further arguments of the backend, as YAML: '{base_url: http://localhost:8000/v1}'.
        capabilities: What the model takes and honours, where `hf-emo-dist models` does not know it, as YAML:
            '{structured: json_schema, temperature: false}'.
        prices: What it costs in US dollars a million tokens, likewise: '{text_in: 1, audio_in: 1, output: 4}'.
        long_audio: What to do with a clip that is longer than the model hears: error (it is not sent), or truncate.
        batch: Whether to send batch jobs: half the price, done within a day. The same command, run again, collects
            what is done; it ends with status 3 until all is.
        wait: Whether to wait for batch jobs.
        service_tier: standard, or flex: half the price, minutes an answer, and none when the service has no room.
        annotate_splits: Splits to annotate, or all; evaluation reads human votes.
        pilot: Clips to annotate first, to measure what a request takes.
        hearing_test: Test on 20 of the clips that are annotated whether answers follow the audio, and stop before more
            is paid for where they do not. It takes 16 to 80 requests of its own, in large runs up to 320.
        dry_run: Estimate and stop: nothing is sent, unless pilot is given.
        limit: Only the first so many rows of each split.
        write_partial: When annotating had to stop, write the data set with the votes that there are; its card says so,
            and the exit status is 3 all the same. Every clip then has as many votes, give or take one; by an engine,
            some batches of clips have all and others none.
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
    capabilities: dict[str, Any] | None = None
    prices: dict[str, Any] | None = None
    long_audio: Literal["error", "truncate"] = "error"
    service_tier: Literal["standard", "flex"] = "standard"
    when_shed: str = _of(Annotator, "when_shed")
    batch: bool = False
    wait: bool = False
    answers_as: Sequence[str] = _of(Annotator, "answers_as")
    preset: str = _of(Annotator, "preset")
    num_annotations: int = _of(Annotator, "num_annotations")
    num_distributions: int = _of(Annotator, "num_distributions")
    mode: Literal["label", "readout"] | None = _of(Annotator, "mode")
    panel: str | Sequence[Mapping[str, Any]] | None = field(
        default=None,
        metadata={
            "mirrors": Annotator,
            "help": "YAML file of your own annotators, or in a --config file they themselves: a list of members with "
            "focus (needed), temperature, mode "
            "(label|distribution|readout), wording, persona and replicate; one that asks another model has backend, "
            "model, backend_options, capabilities, prices and answers_as of its own.",
        },
    )
    prompts: str | None = _of(Annotator, "prompts")
    use_transcript: bool = _of(Annotator, "use_transcript")
    annotate_splits: Sequence[str] = ("train",)
    ledger: str | None = _of(Annotator, "ledger")
    concurrency: int = _of(Annotator, "concurrency")
    requests_per_minute: float | None = _of(Annotator, "requests_per_minute")
    tokens_per_minute: float | None = _of(Annotator, "tokens_per_minute")
    max_cost_usd: float | None = _of(Annotator, "max_cost_usd")
    max_tokens: int | None = _of(Annotator, "max_tokens")
    timeout_s: float | None = _of(Annotator, "timeout_s")
    max_tries: int = _of(Annotator, "max_tries")
    patience_s: float | None = _of(Annotator, "patience_s")
    max_failure_rate: float = _of(Annotator, "max_failure_rate")
    retry_failed: bool | Sequence[str] = _of(Annotator, "retry_failed")
    allow_upload: bool = _of(Annotator, "allow_upload")
    pilot: int = 0
    hearing_test: bool = True
    dry_run: bool = False
    limit: int | None = None
    write_partial: bool = False
    vote_source: str | None = None
    overwrite: bool = False
    seed: int = _of(Annotator, "seed")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("emotions", "annotate_splits", "retry_failed"):
            if isinstance(getattr(self, name), str):  # its letters would be taken for names
                raise ValueError(f"{name}={getattr(self, name)!r} is one text. Mend: a list of names.")
        self.settle(self.preset)
        if self.wait and not self.batch:
            raise ValueError("wait=True is for batch jobs. Mend: --batch --wait, or leave it out.")
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
        options = dict(self.backend_options or {})
        if self.capabilities is not None or self.prices is not None:
            given = {**(options.get("capabilities") or {}), **(self.capabilities or {})}
            options["capabilities"] = given if self.prices is None else {**given, "prices": self.prices}
        if self.long_audio != "error":
            options["long_audio"] = self.long_audio
        if self.service_tier != "standard":
            options["service_tier"] = self.service_tier
        backend = BackendChoice(self.backend, self.model, options)
        return Annotator(**{**self.arguments_of(Annotator), "backend": backend, "emotions": emotions})


def estimate_preparation(settings: PrepareSettings) -> dict[str, Estimate]:
    """Estimate what annotating each split will take. Nothing is sent, except for a pilot.

    From a pilot of training rows it is also learnt how many answers an utterance are worth buying.

    Raises:
        ValueError, OSError: A setting, the data or the ledger does not fit.
    """
    opened = settings.open()
    splits = opened.chosen(settings.annotate_splits, "annotate_splits")
    annotator = settings.annotator(opened.emotions())
    if annotator is None:
        raise ValueError("With backend none nobody is asked. Mend: name a backend.")
    if settings.pilot:
        check_combining(settings, opened, splits)
    found: dict[str, Estimate] = {}
    try:
        for split in splits:
            rows = opened.rows(split)
            tested = _together(opened, splits) if settings.hearing_test and not found else False
            found[split] = annotator.estimate(rows, settings.pilot, settings.batch, hearing_test=tested)
            if settings.pilot and split == learning_split(opened.splits):
                pilot = annotator.stored(annotator.pilot(rows, settings.pilot))
                notes = notes_about(rows, _vote_source(opened, annotator, splits))
                told = advice(pilot, opened.emotions(), settings.agreement, notes)
                found[split] = replace(found[split], advice=tuple(told))
    finally:
        annotator.close()
    return found


def prepare_dataset(settings: PrepareSettings) -> dict[str, RunReport]:
    """Check audio, annotate, combine, augment and write; returns the report of each split that was annotated.

    Where several processes run it (``accelerate launch``), each with a model on its own GPU, they share the clips, and
    the first of them writes.

    In the data set's folder lie `preparation.json`, which says what was done; `combiner.json`, the fitted
    `VoteCombiner`, where one made the targets; and, where training data was augmented, a folder `preparation` with the
    plan, a table and a plot of the class mass, and a page to listen to.

    Raises:
        AnnotationIncomplete: The run had to stop, or a model does not hear. Replies are in the ledger; the same call
            goes on from there. Nothing is written, unless `write_partial` says so: then the report tells what is
            missing.
        AudioError: Clips cannot be used; the message lists them.
        ValueError, OSError: A setting, the data, the ledger or the output folder does not fit.
        FatalError: There is no key.
    """
    if settings.output is None:
        raise ValueError("output is missing. Mend: name a folder to write.")
    if settings.pilot:
        raise ValueError(
            f"pilot={settings.pilot} is for an estimate: annotating would buy the rest whatever it says. Mend: "
            f"hf-emo-dist estimate {settings.dataset} --pilot {settings.pilot} first; what it pays for is in the "
            "ledger, and annotating goes on from there."
        )
    # All that can be wrong is found before money is spent, a second run of the same output too.
    place = Path(settings.output).expanduser().resolve()
    writes = Share.own().rank == 0
    with (
        claimed(place, settings.overwrite, source=settings.dataset or ())
        if writes
        else contextlib.nullcontext(place) as folder
    ):
        return _prepare(settings, folder, writes)


def _prepare(settings: PrepareSettings, folder: Path, writes: bool) -> dict[str, RunReport]:
    opened = settings.open()
    emotions = opened.emotions()
    chosen = opened.chosen(settings.annotate_splits, "annotate_splits")
    annotator, engine = settings.annotator(emotions), current_engine()
    if annotator is not None and engine is not None:
        if settings.batch:
            raise ValueError(
                "Batch jobs are the service's own work, which no engine takes part in. Mend: leave out --engine, or "
                "--batch."
            )
        annotator = engine.share_ledger(annotator)
    for one in annotator.asked if annotator is not None else ():
        if one.backend.destination and opened.restricted and not settings.allow_upload:
            raise ValueError(
                f"{opened.name!r} is marked as restricted: its terms forbid passing the audio on, and "
                f"{one.backend.name} would send it to {one.backend.destination}. Mend: where your licence allows it, "
                "--allow_upload."
            )
    saved = check_before_paying(settings, settings, opened, chosen if annotator is not None else [], folder)
    if annotator is not None:
        annotator.check_ready(_together(opened, chosen))
        annotator.ledger.spending()  # opens it: what is wrong with its place is said before clips are decoded
    for split, rows in opened.splits.items():
        logger.info("%s: checking %d clips", split, len(rows))
        check_clips(rows, long_audio="window").raise_if_any()

    dataset = dict(opened.splits)
    reports: dict[str, RunReport] = {}
    source = opened.vote_source or NOT_STATED
    preparation: dict[str, Any] = {"version": __version__, "source": {"vote_source": source}}
    if opened.restricted:  # a card is written anew, and must not lose it
        preparation["source"]["restricted"] = True
    if annotator is not None:
        try:
            # As one run over all of them: cut short, it is no run that has come to some of the splits.
            wanted, heard = _together(opened, chosen), settings.hearing_test
            if engine is not None:
                voted, report = engine.annotate(annotator, wanted, hearing_test=heard)
            elif settings.batch:
                voted, report = annotator.annotate_batch(wanted, settings.wait, hearing_test=heard)
            else:
                voted, report = annotator.annotate(wanted, hearing_test=heard)
            if not report.complete and not (settings.write_partial and report.votes + report.stored_votes):
                raise AnnotationIncomplete(report)
            reports[", ".join(chosen)] = report
            if not writes:
                return reports
            first = 0
            for split, rows in opened.splits.items():
                if split in chosen:
                    dataset[split] = voted.select(range(first, first + len(rows)))
                    first += len(rows)
                else:  # the splits of one data set have the same columns
                    dataset[split] = annotator.without_votes(rows)
            preparation["annotation"] = _about_votes(annotator, dataset, chosen, report)
        finally:
            annotator.close()
        source = _vote_source(opened, annotator, chosen)
    notes = notes_about(next(iter(dataset.values())), source)
    combined = combine_splits(dataset, settings, emotions, saved, notes)
    preparation["combine"] = combined.about

    with working_folder(folder) as work:
        about = work / "preparation"
        augmented, plan = augment_splits(combined.splits, settings, about, emotions=emotions, notes=notes)
        facts = data_facts(augmented)
        preparation["splits"] = facts["splits"]
        if plan is not None:
            mixed = facts["splits"]["train"]["mixed_rows"]
            preparation["dime_aug"] = {**settings.described(), "num_mixed": mixed, **plan.to_dict()}

        def describe(part: Path) -> None:
            if about.is_dir():
                shutil.move(about, part / "preparation")
            write_json(part / PREPARATION_NAME, preparation)
            if combined.combiner is not None:
                combined.combiner.save(part / COMBINER_NAME)
            write_dataset_card(part, facts)

        write_dataset(
            augmented,
            folder,
            description=_description(reports.values()),
            vote_source=source,
            emotions=emotions,
            overwrite=settings.overwrite,
            describe=describe,
        )
    return reports


def _together(opened: OpenedDataset, splits: Sequence[str]) -> Dataset:
    """The rows of some splits, in the order of the data set."""
    from datasets import concatenate_datasets

    parts = [rows for split, rows in opened.splits.items() if split in splits]
    return parts[0] if len(parts) == 1 else concatenate_datasets(parts)


def _description(reports: Iterable[RunReport]) -> str:
    told = "Prepared by hf-emo-dist annotate. What was done is in preparation.json."
    if all(report.complete for report in reports):
        return told
    return f"**Not complete:** annotating was cut short, and votes are missing (see below). {told}"


def _vote_source(opened: OpenedDataset, annotator: Annotator, splits: Sequence[str]) -> str:
    """Who gave the human votes, and who the synthetic ones in these splits."""
    asked = [one.backend for one in annotator.asked]
    named = [backend.model for backend in asked if backend.name != "simulated"]
    who = f"{' and '.join(named)}, no person" if named else SIMULATED_ANNOTATORS
    if named and len(named) < len(asked):
        who += f", and by {SIMULATED_ANNOTATORS}"
    return (
        f"{opened.vote_source or NOT_STATED} Beside them, synthetic votes by {who}, in {', '.join(splits)}; "
        "human_distribution is without them."
    )


def _about_votes(
    annotator: Annotator, splits: Mapping[str, Dataset], annotated: Sequence[str], report: RunReport
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
    partial: dict[str, Any] = {}
    if not report.complete:
        partial["partial"] = {
            "why": report.stop_reason or "some requests got no answer.",
            "wanted_a_clip": max(report.votes_a_clip),
            "clips_by_votes": {str(number): clips for number, clips in report.votes_a_clip.items() if clips},
        }
    tests = [one.hearing_test for one in (report.by_model or {"": report}).values()]
    told = annotator.describe()
    for one, test in zip((told, *told.get("others", ())), tests, strict=True):
        one["hearing_test"] = None if test is None else test.to_dict()
    return {
        **told,
        "model_versions": dict(versions),
        "cost_usd": cost,
        "splits": list(annotated),
        "num_votes": sum(versions.values()),
        "num_requests": report.requests,
        "failures": {outcome: len(ids) for outcome, ids in report.failures.items()},
        **({"read_outs": report.masses.to_dict()} if report.masses.number else {}),
        "skipped": sorted(report.skipped),
        **partial,
    }
