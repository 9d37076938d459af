"""`Annotator`: a callable for `Dataset.map` that has a model vote on utterances, every paid reply kept once."""

from __future__ import annotations

import copy
import hashlib
import logging
import threading
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..audio.clips import audio_hash
from ..audio.decoding import AudioError
from ..batches import columns_of, is_table, with_added
from ..emotions import PAPER_EMOTIONS, validate_emotions
from .annotation_columns import (
    annotation_columns,
    annotation_features,
    split_keys,
    typed,
    votes_by_row,
    with_columns,
)
from .backends import BackendChoice
from .batch.calling import call_batches
from .estimating import estimate
from .hearing.asking import CLIPS
from .hearing.hearing import hear
from .hearing.verdict import HearingTest
from .kept_on_disk import JoinedKeys
from .ledger.ledger import Ledger
from .ledger.plans import Plan
from .ledger.run_ledger import RunLedger
from .model_data import described_old, old_facts
from .ordering import ClipStore, Rounds
from .panel import by_model, choose_panel, describe_panel
from .prompts import PromptSet, choose_prompts
from .reading import Utterance, read_batch, read_dataset
from .run.estimate import Estimate
from .run.evidence import Evidence
from .run.jobs import PATIENCE_S, TIMEOUT_S, Clip, Job, Run, RunSettings
from .run.loop import LoopThread
from .run.run_report import AnnotationIncomplete, Progress, RunReport, together
from .run.runner import Runner
from .run.side_by_side import SideBySide
from .same_weights import annotations_of, check_same_weights
from .shares import Share
from .types import Backend, FatalError, PanelMember, PreparedAudio, ledger_key, request_hash

if TYPE_CHECKING:
    from datasets import Dataset, Features

logger = logging.getLogger(__name__)

#: Goes into the fingerprint of `Dataset.map`. Raise it when the same settings and replies give other columns.
ANNOTATOR_VERSION = 1


def _finish(loop: LoopThread, backends: Sequence[Backend]) -> None:
    try:
        loop.close(lambda: _close_all(backends), timeout_s=5.0)
    except Exception as error:  # noqa: BLE001 - at the end of a process, or in the midst of something else
        logger.debug("%s was not closed: %s", backends[0].name, type(error).__name__)


async def _close_all(backends: Sequence[Backend]) -> None:
    for backend in backends:
        await backend.close()


def _no_audio() -> PreparedAudio:
    raise AssertionError("nothing is sent")


class AnnotationResult(NamedTuple):
    """What `Annotator.annotate` returns: the data set with its new columns, and the report of the run."""

    dataset: Dataset
    report: RunReport


def default_ledger() -> Path:
    """Where replies are kept unless a file is named: `hf_emo_dist/votes.sqlite` in `HF_HOME`."""
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "hf_emo_dist" / "votes.sqlite"


class Annotator:
    """Has an audio-language model vote on utterances, as a panel of annotators.

    Use it as a function for ``Dataset.map`` or ``IterableDataset.map`` (``batched=True`` is faster: the requests of a
    batch are in flight together, and rows keep their order), or annotate a whole data set at once with
    :meth:`annotate`, which has no barrier between batches and goes breadth first. It adds ``synthetic_annotations`` and
    ``synthetic_votes``; `combine_votes` pools them with the human votes. Annotations of other annotators that a row has
    already are kept.

    Every reply is in the ledger before it is used, and nothing that is there is asked for again: a run that was broken
    off goes on where it was, by the same call.

    It can be pickled, keys and connections left out, and so is a function for Ray Data as it stands:
    ``ray.data.read_parquet(folder).map_batches(annotator, batch_format="pyarrow", batch_size=256)``. Each worker then
    has the ledger's file open; on several machines give ``ledger=RayLedger("votes.sqlite")`` of `hf_emo_dist.engines`,
    through which all of them reserve, store, pace and cap in one place. A local model belongs into actors, one a GPU:
    ``map_batches(Annotator, fn_constructor_kwargs={...}, num_gpus=1, compute=ray.data.ActorPoolStrategy(size=8))``.

    Args:
        backend: ``"gemini"``, ``"openai"``, ``"transformers"``, ``"simulated"``, ``module:Name`` of a class of your
            own, an instance, or a `BackendChoice`: who is asked, unless a member of the panel names its own model.
        emotions: The label set.
        preset: ``"default"``, or ``"paper"``: the panel, paper-like prompts and the way of reading replies of arXiv
            2601.14620.
        panel: Your own annotators instead: a YAML file (see `load_panel`), or `PanelMember` or dicts such as
            ``{"focus": "voice", "temperature": 0.7}``. A member may name its own model: ``{"focus": "voice", "backend":
            "openai", "model": "gpt-audio"}``, see `panel.by_model`.
        num_annotations: Annotators that give one label, where `panel` does not say who answers.
        num_distributions: Annotators that state the distribution that they expect, beside these.
        mode: How the `num_annotations` answer: ``"label"``, or ``"readout"``, by the model's own probabilities of the
            labels. Default: a read-out by ``"transformers"``, a label by the others.
        prompts: A YAML file (see `load_prompts`) or a `PromptSet` instead of the preset's prompts.
        use_transcript: Whether the transcript, where there is one, is shown, as quoted data.
        ledger: The SQLite file of replies, a `Ledger`, or a handle to one (`engines.RayLedger`). Default:
            :func:`default_ledger`.
        allow_upload: Whether data that is marked as restricted may be sent to a remote service.
        seed: Of the paper preset's temperatures, and of the order in which :meth:`annotate` goes through the clips.
        audio_column: Name of the audio's column.
        progress: Whether to show progress bars.
        concurrency: Requests in flight at most. A run starts with 16 and climbs for as long as replies come as fast as
            before; signs of overload bring it down, by the share of requests that meet one. A model on this machine has
            as many at once as it asks for, and is given all the time that it takes.
        requests_per_minute: Bound on requests a minute, shared by all processes on the ledger; None for no bound.
        tokens_per_minute: Bound on tokens a minute, likewise.
        max_cost_usd: Cap on all that the ledger has cost since it exists, in US dollars; None for no cap.
        max_tokens: Cap on the ledger's tokens in all.
        timeout_s: Seconds to wait for one reply. Default: 120, and 1200 at the flex tier.
        max_tries: Requests for one reply that the service or the connection fails before it is given up; answers 429 do
            not count, nor does a connection that is down for all. Given up for good is only what fails while other
            clips are answered.
        patience_s: Seconds to go on while no request gets a reply because of answers 429 or because the connection is
            down; then, or when the service asks for a longer wait with any answer, the run stops. Default: 600, and
            3600 at the flex tier.
        when_shed: What becomes of a request that the flex tier has no room for: ``"retry"``, it is sent again later;
            ``"standard"``, it is sent at the standard tier at once, and charged so.
        max_failure_rate: The run stops where more than this share of its last 200 tries brought no vote; 1 for no
            bound. Answers 429 and 503 do not count.
        retry_failed: Whether to ask again where the ledger has a failure: True for all, or the outcomes to ask again
            for.
        first_backoff_s: Least waiting time between tries, in seconds.
        last_backoff_s: Longest waiting time between tries, in seconds.
        answers_as: Names under which the model may answer beside its own: an Azure deployment's, or what stands behind
            a gateway. A reply by any other name is no vote.
        today: The day by which prices, retirements and the age of facts are told; None for the day of each call.

    Raises:
        ValueError: An argument does not fit.

    Example:
        >>> import numpy as np, tempfile
        >>> row = {"id": "a", "audio": {"array": np.linspace(-0.1, 0.1, 8000, dtype="float32"), "sampling_rate": 16000},
        ...        "true_distribution": {"angry": 0.0, "sad": 1.0}}
        >>> annotator = Annotator("simulated", emotions=["angry", "sad"], num_annotations=3, progress=False,
        ...                       ledger=tempfile.mkdtemp() + "/votes.sqlite")
        >>> len(annotator(row)["synthetic_annotations"])
        3
    """

    def __init__(
        self,
        backend: str | Backend | BackendChoice = "gemini",
        *,
        emotions: Sequence[str] = PAPER_EMOTIONS,
        preset: str = "default",
        panel: str | Path | Sequence[PanelMember | Mapping[str, Any]] | None = None,
        num_annotations: int = 10,
        num_distributions: int = 0,
        mode: Literal["label", "readout"] | None = None,
        prompts: str | Path | PromptSet | None = None,
        use_transcript: bool = True,
        ledger: str | Path | RunLedger | None = None,
        allow_upload: bool = False,
        seed: int = 42,
        audio_column: str = "audio",
        progress: bool = True,
        concurrency: int = RunSettings.concurrency,
        requests_per_minute: float | None = RunSettings.requests_per_minute,
        tokens_per_minute: float | None = RunSettings.tokens_per_minute,
        max_cost_usd: float | None = RunSettings.max_cost_usd,
        max_tokens: int | None = RunSettings.max_tokens,
        timeout_s: float | None = None,
        max_tries: int = RunSettings.max_tries,
        patience_s: float | None = None,
        when_shed: str = RunSettings.when_shed,
        max_failure_rate: float = RunSettings.max_failure_rate,
        retry_failed: bool | Collection[str] = RunSettings.retry_failed,
        first_backoff_s: float = RunSettings.first_backoff_s,
        last_backoff_s: float = RunSettings.last_backoff_s,
        answers_as: str | Sequence[str] = (),
        today: date | None = None,
    ) -> None:
        arguments = {**locals()}  # before any other name is bound here
        if preset not in ("default", "paper"):
            raise ValueError(f"`preset` is {preset!r}. Mend: 'default' or 'paper'.")
        self.emotions = validate_emotions(emotions)
        self.preset, self.use_transcript, self.allow_upload = preset, use_transcript, allow_upload
        self.audio_column, self.progress, self.seed = audio_column, progress, seed
        if isinstance(retry_failed, str):
            retry_failed = (retry_failed,)
        elif not isinstance(retry_failed, bool):  # in one order, since `Dataset.map` takes its fingerprint from it
            retry_failed = tuple(sorted(retry_failed))
        main = BackendChoice(backend) if isinstance(backend, str) else backend
        own, *others = by_model(main, panel, preset)
        self.backend: Backend = own.backend
        tier = self.tier
        self.settings = RunSettings(
            concurrency=concurrency,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            max_cost_usd=max_cost_usd,
            max_tokens=max_tokens,
            timeout_s=TIMEOUT_S[tier] if timeout_s is None else timeout_s,
            max_tries=max_tries,
            patience_s=PATIENCE_S[tier] if patience_s is None else patience_s,
            when_shed=when_shed,
            max_failure_rate=max_failure_rate,
            retry_failed=retry_failed,
            first_backoff_s=first_backoff_s,
            last_backoff_s=last_backoff_s,
        )
        self.prompts = choose_prompts(prompts, preset)
        self.members = choose_panel(
            self.backend, self.prompts, preset, own.members, num_annotations, num_distributions, seed, mode
        )
        names = [answers_as] if isinstance(answers_as, str) else answers_as
        if own.named and names:  # of the model that `backend` says, which others ask, or nobody
            names = ()
        self.answers_as = tuple(dict.fromkeys((*names, *getattr(self.backend, "answers_as", ()))))
        self.today = today
        today, capabilities = self.day(), self.backend.capabilities
        if capabilities.is_retired(today):
            logger.warning("%s. It is not asked: votes that the ledger has are read.", capabilities.retirement())
        elif capabilities.retired_on is not None and self.backend.destination is not None:
            logger.warning("%s. A reply of another model is no vote, and stops the run.", capabilities.retirement())
        if max_cost_usd is not None and capabilities.prices_on(today) is None:
            raise ValueError(
                f"max_cost_usd needs prices, and none are known for {self.backend.model!r}. "
                "Mend: cap max_tokens instead, or give the backend capabilities={'prices': {'text_in': 1, 'audio_in': "
                "1, 'output': 4}} in US dollars a million tokens, on the command line --prices '{text_in: 1, audio_in: "
                "1, output: 4}'."
            )
        given = None if ledger is None or isinstance(ledger, str | Path) else ledger
        self._ledger_path = str(given.path if given is not None else ledger or default_ledger())
        self._ledger: RunLedger | None = given
        self._given_ledger = self._ledger  # stays its owner's
        del arguments["self"]
        #: Of the panel's other models: each an annotator as if it was asked alone, with those members who ask it.
        self.others: tuple[Annotator, ...] = tuple(
            Annotator(
                **{
                    **arguments,
                    "backend": part.backend,
                    "panel": part.members,
                    "answers_as": () if part.named else answers_as,
                }
            )
            for part in others
        )
        self._start()

    @property
    def asked(self) -> tuple[Annotator, ...]:
        """An annotator for each model of the panel, this one first: `backend`, `members`, `plan`, … are its own."""
        return (self, *self.others)

    @property
    def models(self) -> dict[str, Annotator]:
        """The same by the models' names, with their servers' where two are alike."""
        names = [one.backend.model for one in self.asked]
        return {
            name if names.count(name) == 1 else f"{name} at {one.backend.endpoint}": one
            for name, one in zip(names, self.asked, strict=True)
        }

    def _start(self) -> None:
        self.loop, self._lock = LoopThread(), threading.RLock()
        self._told: set[str] = set()
        self._answerer_known = False
        self._evidence = Evidence()
        # Connections that nobody closed are closed when the annotator is gone, or the process ends.
        weakref.finalize(self, _finish, self.loop, [one.backend for one in self.asked])

    @property
    def tier(self) -> str:
        """The service tier at which single requests are asked."""
        return getattr(self.backend, "service_tier", "standard")

    def day(self) -> date:
        """The day by which prices, retirements and the age of facts are told."""
        return self.today or datetime.now(UTC).date()

    def not_asked(self) -> tuple[str, str] | None:
        """Why nobody is asked, where no reply would be a vote, and the mend."""
        has = self.backend.capabilities
        if not has.is_retired(self.day()):
            return None
        successor = f", such as {has.replaced_by}" if has.replaced_by else ""
        return (
            f"{has.retirement()}. Nothing was sent: no reply would be a vote.",
            f"Mend: name a model of today{successor} (hf-emo-dist models lists them); where that date is wrong for the "
            "server you ask, give the backend capabilities={'retired_on': None}, on the command line --capabilities "
            "'{retired_on: null}'.",
        )

    # --- what identifies an annotator

    @property
    def plan(self) -> str:
        """Hash of all that decides who is asked what, except the clips; replies in the ledger carry it."""
        prompts = asdict(self.prompts)
        if all(member.mode != "readout" for member in self.members):  # they are not asked so
            del prompts["readout"]
        described = {
            "backend": self.backend.name,
            "endpoint": self.backend.endpoint,
            "model": self.backend.model,
            "emotions": list(self.emotions),
            "prompts": prompts,
            "members": [asdict(member) for member in self.members],
            "use_transcript": self.use_transcript,
            "lenient": self.preset == "paper",
        }
        return request_hash(described)[:32]

    def describe(self) -> dict[str, Any]:
        """What a card says of this annotator."""
        return {
            "backend": self.backend.name,
            "model": self.backend.model,
            "preset": self.preset,
            "prompt_version": self.prompts.version,
            "emotions": list(self.emotions),
            "panel": [asdict(member) for member in self.members],
            "plan": self.plan,
            **({"answers_as": list(self.answers_as)} if self.answers_as else {}),
            **({"others": [other.describe() for other in self.others]} if self.others else {}),
            **({"service_tier": self.tier} if self.tier != "standard" else {}),
            **({"weights": self.backend.weights()} if hasattr(self.backend, "weights") else {}),
        }

    def __repr__(self) -> str:
        more = "".join(f", {one.backend.model!r}: {describe_panel(one.members)!r}" for one in self.others)
        return (
            f"Annotator({self.backend.name!r}, model={self.backend.model!r}, preset={self.preset!r}, "
            f"panel={describe_panel(self.members)!r}{more}, ledger={self._ledger_path!r})"
        )

    def __getstate__(self) -> dict[str, Any]:
        # `Dataset.map` takes its fingerprint from this. An upgrade of the library, and failures that came since, make
        # it another: `map` then reads the votes from the ledger again.
        left_out = ("_ledger", "_given_ledger", "loop", "_lock", "_told", "_answerer_known", "_evidence")
        state = {name: value for name, value in self.__dict__.items() if name not in left_out}
        failures = Ledger.failures_digest_of(self._ledger_path, self.plan)
        given = self._given_ledger
        if given is not None and given.survives_pickling:
            state["_given_ledger"] = given
        return {**state, "_version": ANNOTATOR_VERSION, "_failures": failures}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({k: v for k, v in state.items() if k not in ("_version", "_failures")})
        self._ledger = self._given_ledger = state.get("_given_ledger")
        self._start()

    @property
    def ledger(self) -> RunLedger:
        """The ledger, opened on first use.

        Raises:
            LedgerError: It cannot be opened or written; nothing has been sent then.
        """
        with self._lock:
            if self._ledger is None:
                self._ledger = Ledger(self._ledger_path)
            return self._ledger

    def close(self) -> None:
        """Closes the connections and the ledger, unless that was given as an object. The next use opens them again."""
        self.loop.close(lambda: _close_all([one.backend for one in self.asked]))
        for other in self.others:
            other.close()
        with self._lock:
            if self._ledger is not None and self._ledger is not self._given_ledger:
                self._ledger.close()
            self._ledger = self._given_ledger

    # --- what it does

    def __call__(self, example_or_batch: Mapping[str, Any]) -> Any:
        """Annotates one example or a batch; returns the new columns only.

        A batch of Ray Data is a table, which comes back with the new columns: ``map_batches`` keeps nothing else.

        Raises:
            AnnotationIncomplete: The run had to stop. What came is in the ledger; the same call goes on from there.
            ValueError: Restricted data would be uploaded, or a row does not fit the backend.
        """
        if is_table(example_or_batch):
            return with_added(example_or_batch, self(columns_of(example_or_batch)))
        utterances, batched = read_batch(example_or_batch, self.audio_column, self.row_columns)
        if not batched:
            self._tell(
                "unbatched",
                "One utterance at a time has only its own requests in flight. Faster: dataset.map(annotator, "
                "batched=True, batch_size=256), or annotator.annotate(dataset).",
            )
        report, columns = self.votes_on(utterances, shown=batched)
        if report.stop_reason is not None:
            raise AnnotationIncomplete(report)
        if report.complete:
            report.votes_a_clip = {}
        if report.failures or report.unfinished or report.skipped:
            logger.warning("%s", report.summary())
        return columns if batched else {name: values[0] for name, values in columns.items()}

    def votes_on(self, utterances: list[Utterance], shown: bool = False) -> tuple[RunReport, dict[str, Any]]:
        """Has a batch of utterances voted on: the report, and the two columns with all that the ledger has of them.

        A run that had to stop says so in `report.stop_reason`; `report.votes_a_clip` tells how many votes there are.
        """
        total = len(utterances) * self.answers_a_clip
        self._check_weights([utterance.annotations for utterance in utterances])
        report, keys = self.run(utterances, total, leave=False, shown=shown, whole=False)
        if report.stop_reason is not None:  # it has not come to all of them
            keys = self._keys(utterances)
        columns = annotation_columns(self.ledger, keys, [u.annotations for u in utterances], self.emotions)
        numbers = [
            sum(entry["key"] in mine for entry in entries)
            for entries, mine in zip(columns["synthetic_annotations"], map(set, map(split_keys, keys)), strict=True)
            if mine
        ]
        report.note_votes(numbers, self.answers_a_clip)
        return report, typed(columns, self.emotions)

    def _keys(self, utterances: Sequence[Utterance]) -> list[bytes]:
        """The keys of all that is wanted of each utterance, joined; nothing is sent."""
        keys = []
        for one in self.asked:
            jobs = (one.jobs(utterance, RunReport(), sends=False) for utterance in utterances)
            keys.append([b"".join(bytes.fromhex(job.key) for job in row) for row in jobs])
        return list(JoinedKeys(keys))

    def through(self, ledger: RunLedger) -> Annotator:
        """The same annotator with its replies kept in another ledger, such as a handle that workers share; it shows no
        bars."""
        other = copy.copy(self)
        other._ledger = other._given_ledger = ledger
        other._ledger_path, other.progress = str(ledger.path), False
        other.others = tuple(one.through(ledger) for one in self.others)
        return other

    @property
    def answers_a_clip(self) -> int:
        """Members of the panel, whatever model they ask."""
        return sum(len(one.members) for one in self.asked)

    @property
    def row_columns(self) -> tuple[str, ...]:
        """Columns of a row that are read beside those that every annotator knows."""
        return tuple(dict.fromkeys(name for one in self.asked for name in one.backend.row_columns))

    @property
    def clip_by_clip(self) -> bool:
        """Whether all members are asked about one clip before the next: where the backend answers them at once, or all
        are read out, since what a server has of a clip is used while it is there."""
        read = all(member.mode == "readout" for member in self.members)
        return bool(getattr(self.backend, "whole_panel", False)) or read

    def annotate(self, dataset: Dataset, pilot: int = 0, hearing_test: bool = False) -> AnnotationResult:
        """Annotates a whole data set, with no barrier between batches, and breadth first.

        Every clip is asked about once before any is asked about twice: the first member of the panel about all clips,
        in an order drawn from (`seed`, row id), then the second, and so on. A run that must stop early (budget, Ctrl-C,
        a wrong key) so is a smaller run of the same kind, and returns what there is, with all that the ledger has:
        look at ``report.complete`` and ``report.votes_a_clip``. A backend that answers a whole panel at once
        (``whole_panel``) is asked clip by clip in that order; where that is a model on this machine and several
        processes run this (``accelerate launch``, one a GPU), each begins with its share of the clips, and all wait
        until everything is in the one ledger. Where a panel names several models, they are asked side
        by side, each at its own speed; where one must stop, the others go on, and ``report.by_model`` tells of each.

        Args:
            dataset: One split.
            pilot: Estimate from so many clips first, and put the estimate into the report.
            hearing_test: Test first whether the answers of each model follow the audio, see :meth:`hearing_test`. Where
                one's do not, the run stops before anything else is paid for.

        Returns:
            The data set with ``synthetic_annotations`` and ``synthetic_votes``, and the report.

        Raises:
            LedgerError: The ledger cannot be opened, or did not take a reply.
            ValueError: Restricted data would be uploaded, or a row does not fit the backend.
        """
        self.utterances(dataset)  # looks at all of them
        self._check_weights(annotations_of(dataset))
        store, reports = ClipStore(), {name: RunReport() for name in self.models}
        stopped = self.stopped_by_hearing(dataset, reports) if hearing_test else None
        estimate = self.estimate(dataset, pilot) if pilot and stopped is None else None
        rounds = [Rounds(one, dataset, reports[name], store) for name, one in self.models.items()]
        if stopped is None:
            wanted = zip(self.asked, (one.groups() for one in rounds), reports.values(), strict=True)
            self._send_together(list(wanted), total=len(dataset) * self.answers_a_clip)
        report = stopped or together(reports)
        report.estimate = estimate
        keys = JoinedKeys([one.rest() for one in rounds])
        found = with_columns(dataset, self.ledger, keys, self.emotions)
        if not report.complete:
            report.note_votes(votes_by_row(found, keys), self.answers_a_clip)
        logger.debug("%s", report.summary())  # who has the report prints it
        return AnnotationResult(found, report)

    def stopped_by_hearing(self, dataset: Dataset, reports: Mapping[str, RunReport]) -> RunReport | None:
        """Test each model; the report of a run that ends with that, or None."""
        for name, one in self.models.items():
            found, asked = hear(one, dataset)
            reports[name].hearing_test = asked.hearing_test = found
            if asked.stop_reason is not None:
                return asked
            if found.stops:
                stopped = RunReport(hearing_test=found)
                stopped.stop_reason, stopped.mend = found.stop_reason()
                return stopped
        return None

    def hearing_test(self, dataset: Dataset, clips: int = CLIPS, seed: int = 42) -> HearingTest:
        """Tests whether the model's answers follow the audio: a server that drops it answers all the same.

        Some clips are asked about with their own audio (which the run would do anyway), and again with another row's
        and with silence, the words being the same. See `hearing.judging` for what is concluded; more answers are bought
        only where the first ones do not tell. Whatever is in the ledger is not asked again, so that a repeated test
        costs nothing; and where the ledger has all replies that a run would want, nothing is asked. Where a panel names
        several models, this tests the first; all of them are in `models`.

        Args:
            dataset: One split.
            clips: Clips at most. Nobody is said not to hear by fewer than 16.
            seed: Of their choice.

        Returns:
            The finding; print its ``summary()``.

        Raises:
            AnnotationIncomplete: The test had to stop (budget, Ctrl-C, a wrong key).
            ValueError: Restricted data would be uploaded, or a row does not fit the backend.
        """
        found, report = hear(self, dataset, clips, seed)
        if report.stop_reason is not None:
            raise AnnotationIncomplete(report)
        logger.info("%s", found.summary())
        return found

    def annotate_batch(
        self, dataset: Dataset, wait: bool = False, poll_s: float = 60.0, hearing_test: bool = False
    ) -> AnnotationResult:
        """Annotates a whole data set by batch jobs: half the price, done within a day.

        The first call submits; every further one collects what is done and submits what is missing, in this process or
        in any other that has the ledger. Nothing is paid for twice, whenever a process dies.

        Args:
            dataset: One split.
            wait: Whether to stay until all is done.
            poll_s: Seconds between two looks while waiting, at most.
            hearing_test: Test first, by single requests, whether the answers follow the audio, see :meth:`annotate`.

        Returns:
            The data set with the votes that are there, and the report: ``report.complete`` is False for as long as
            requests are under way (``report.under_way``).

        Raises:
            LedgerError: The ledger cannot be opened or written.
            ValueError: The backend has no batch jobs, restricted data would be uploaded, or a row does not fit.
        """
        tested = {self.backend.model: RunReport()}
        stopped = self.stopped_by_hearing(dataset, tested) if hearing_test and not self.others else None
        if stopped is not None:
            found = self.stored(dataset)
            stopped.note_votes(map(len, found["synthetic_annotations"]), self.answers_a_clip)
            return AnnotationResult(found, stopped)
        report, keys = call_batches(self, dataset, collect=True, submit=True, wait=wait, poll_s=poll_s)
        report.hearing_test = tested[self.backend.model].hearing_test
        logger.debug("%s", report.summary())  # who has the report prints it
        return AnnotationResult(with_columns(dataset, self.ledger, keys, self.emotions), report)

    def submit_batch(self, dataset: Dataset) -> RunReport:
        """Submits what is wanted, and neither in the ledger nor in a job, as batch jobs; see :meth:`annotate_batch`."""
        return call_batches(self, dataset, collect=False, submit=True)[0]

    def collect_batch(self, dataset: Dataset) -> AnnotationResult:
        """Collects the batch jobs that are done, of whatever data set; see :meth:`annotate_batch`."""
        report, keys = call_batches(self, dataset, collect=True, submit=False)
        return AnnotationResult(with_columns(dataset, self.ledger, keys, self.emotions), report)

    def estimate(
        self, dataset: Dataset, pilot: int = 0, batch: bool = False, hearing_test: bool | Dataset = False
    ) -> Estimate:
        """Tells what :meth:`annotate` would take: requests, tokens, money, time. Nothing is sent, except for a pilot.

        Args:
            dataset: One split.
            pilot: Annotate so many clips, spread over the data set, to measure what a request takes. They are paid for,
                and are in the ledger when the run comes to them.
            batch: Of sending the rest as batch jobs.
            hearing_test: Whether :meth:`annotate` is to test the hearing first, or the data set on which it will, where
                it is given more than this one.

        Returns:
            The estimate; print its ``table()``.

        Raises:
            AnnotationIncomplete: The pilot had to stop.
            ValueError: `pilot` is no number of clips, or the data set does not fit the backend.
        """
        return estimate(self, dataset, pilot, batch, hearing_test)

    def check_ready(self, dataset: Dataset) -> None:
        """Find what would end :meth:`annotate` at its first request: nothing is sent.

        Args:
            dataset: One split, or several in one.

        Raises:
            FatalError: There is no key, and the ledger has not all replies.
            ValueError: Restricted data would be uploaded, or a row does not fit the backend.
        """
        if Path(self._ledger_path).expanduser().exists():
            self._check_weights(annotations_of(dataset))
        for one in self.asked:
            one.check_rows(dataset)
            one._announce()
            try:
                getattr(one.backend, "check_ready", lambda: None)()
            except FatalError:
                if one.not_asked() is None and one.lacks(dataset):
                    raise

    def check_rows(self, dataset: Dataset) -> None:
        """Finds the first row whose request cannot be written, and what forbids to send it. Raises `ValueError`."""
        for utterance in self.utterances(dataset):
            self.jobs(utterance, RunReport(), sends=False)  # what does not fit a column does so in its first row
            break
        if self.backend.row_columns:  # but for what the backend reads, where each row has a value of its own
            for utterance in read_dataset(dataset, self.audio_column, self.row_columns, with_audio=False):
                if not utterance.mixed:
                    self.jobs_about(utterance, self.members[:1], Clip(utterance.row_id, _no_audio), "", sends=False)

    def lacks(self, dataset: Dataset) -> bool:
        """Whether a reply of this model is wanted that the ledger has not; rows are read until one is found."""
        if not Path(self._ledger_path).expanduser().exists():
            return True
        rows, report = self.utterances(dataset), RunReport()
        while some := list(islice(rows, 64)):
            keys = [job.key for utterance in some for job in self.jobs(utterance, report, sends=False)]
            there = self.ledger.lookup(keys)
            if any(key not in there or self.settings.asks_again(there[key]) for key in keys):
                return True
        return False

    def pilot(self, dataset: Dataset, number: int) -> Dataset:
        """The clips that a pilot of so many asks about."""
        # Not the first ones: corpora are sorted by speaker. The choice depends on the number alone, so a repeated pilot
        # costs nothing.
        order = sorted(range(len(dataset)), key=lambda i: hashlib.sha256(f"pilot-{i}".encode()).digest())
        return dataset.select(sorted(order[:number]))

    def stored(self, dataset: Dataset) -> Dataset:
        """The data set with the two columns, of the replies that are in the ledger: nothing is sent."""
        keys = []
        for one in self.asked:
            jobs = (one.jobs(utterance, RunReport(), sends=False) for utterance in one.utterances(dataset))
            keys.append([b"".join(bytes.fromhex(job.key) for job in row) for row in jobs])
        return with_columns(dataset, self.ledger, JoinedKeys(keys), self.emotions)

    def without_votes(self, dataset: Dataset) -> Dataset:
        """The data set with the two columns as it has them, or empty: for splits that are not annotated."""
        return with_columns(dataset, self.ledger, [], self.emotions)

    def features(self, features: Features) -> Features:
        """`features` with the new columns, for ``map(annotator, features=annotator.features(dataset.features))``."""
        from datasets import Features

        return Features({**features, **annotation_features(self.emotions)})

    # --- within

    def utterances(self, dataset: Dataset) -> Iterator[Utterance]:
        """The utterances of a data set, after a look at all of them for what would stop the run."""
        for one in self.asked:
            one.check_upload(read_dataset(dataset, self.audio_column, self.row_columns, only_flags=True))
        return read_dataset(dataset, self.audio_column, self.row_columns)

    def run(
        self,
        utterances: Iterable[Utterance],
        total: int | None,
        leave: bool = True,
        shown: bool = True,
        whole: bool = True,
    ) -> tuple[RunReport, list[bytes]]:
        """Gets all replies; returns the report and, for each utterance, its keys joined. `whole`: it is no batch."""
        if self.others:  # each goes through them for itself
            utterances = list(utterances)
        if isinstance(utterances, list):
            for one in self.asked:
                one.check_upload(utterances)
        reports = {name: RunReport() for name in self.models}
        keys: list[list[bytes]] = []
        wanted = []
        for one, report in zip(self.asked, reports.values(), strict=True):
            keys.append([])
            wanted.append((one, one._groups(utterances, report, keys[-1]), report))
        self._send_together(wanted, total, leave, shown, whole)
        return together(reports), list(JoinedKeys(keys))

    def _groups(self, utterances: Iterable[Utterance], report: RunReport, keys: list[bytes]) -> Iterator[list[Job]]:
        """The jobs of this model, clip by clip; `keys` gets theirs."""
        for utterance in utterances:
            report.rows += 1
            jobs = self.jobs(utterance, report)
            keys.append(b"".join(bytes.fromhex(job.key) for job in jobs))
            yield jobs

    def send(
        self,
        groups: Iterator[list[Job]],
        report: RunReport,
        total: int | None,
        leave: bool = True,
        shown: bool = True,
        whole: bool = True,
    ) -> None:
        """Gets the replies of jobs into the ledger; `report` says in the end whether that had to stop."""
        self._send_together([(self, groups, report)], total, leave, shown, whole)

    def _send_together(
        self,
        wanted: Sequence[tuple[Annotator, Iterator[list[Job]], RunReport]],
        total: int | None,
        leave: bool = True,
        shown: bool = True,
        whole: bool = True,
    ) -> None:
        """The same for several models at once, side by side."""
        began = datetime.now(UTC)
        shown = shown and Share.own().rank == 0  # of several processes one draws
        with Progress(total, self.progress and shown, leave) as progress:
            runs = [one.run_of(report, progress, whole=whole, ledger=self.ledger) for one, _, report in wanted]
            runners = SideBySide([Runner(run) for run in runs])
            jobs = [groups for _, groups, _ in wanted]
            self.loop.run(runners.run(jobs), on_interrupt=runners.request_stop)
        for run, (one, _, report) in zip(runs, wanted, strict=True):
            one._answerer_known = run.answerer_known
            report.seconds += (datetime.now(UTC) - began).total_seconds()

    def run_of(
        self,
        report: RunReport,
        progress: Progress,
        batch: bool = False,
        whole: bool = True,
        ledger: RunLedger | None = None,
    ) -> Run:
        """What the stages of a run of single requests, or of batch jobs, share."""
        self.tell_old_facts()
        self._announce()
        ledger = self.ledger if ledger is None else ledger  # an empty one is false
        ledger.remember_plan(self.plan, Plan(tuple(self.emotions), self.preset == "paper"))
        return Run(
            self.backend,
            ledger,
            self.settings,
            self.plan,
            self.emotions,
            self.preset == "paper",
            report,
            progress,
            self._evidence,
            whole,
            answers_as=self.answers_as,
            not_asked=self.not_asked(),
            tier="batch" if batch else self.tier,
            members=len(self.members),
            # One that cannot be told of other names has none; a job's replies come all at once.
            answerer_known=batch or self._answerer_known or not hasattr(self.backend, "answers_as"),
        )

    def jobs(
        self,
        utterance: Utterance,
        report: RunReport,
        sends: bool = True,
        members: Sequence[PanelMember] | None = None,
    ) -> list[Job]:
        """One reply for each of these members, or of the panel.

        None for a mixed row, and for a clip that cannot be read, which goes into the report.
        """
        if utterance.mixed:
            return []
        try:
            digest = audio_hash(utterance.audio)
        except AudioError as error:
            report.skipped[utterance.row_id] = str(error)
            return []
        backend, audio, row_id = self.backend, utterance.audio, utterance.row_id
        clip = Clip(row_id, lambda: backend.prepare(audio, row_id))
        return self.jobs_about(utterance, self.members if members is None else members, clip, digest, sends)

    def jobs_about(
        self, utterance: Utterance, members: Sequence[PanelMember], clip: Clip, digest: str, sends: bool = True
    ) -> list[Job]:
        """One reply for each of these members about a clip whose `audio_hash` is `digest`."""
        backend = self.backend
        if sends and backend.destination is not None:
            self._tell("upload", f"Audio is sent to {backend.destination}. Terms: {backend.terms}.")
        jobs = []
        for member in members:
            prompt = self.prompts.render(member, self.emotions, utterance.transcript if self.use_transcript else None)
            request = backend.render(prompt, member, utterance.row)
            hashed = request_hash(request)
            key = ledger_key(
                audio=digest,
                request=hashed,
                backend=backend.name,
                endpoint=backend.endpoint,
                model=backend.model,
                replicate=member.replicate,
            )
            jobs.append(Job(key, clip, member, prompt, request, hashed, digest))
        return jobs

    def _announce(self) -> None:
        """Tell a backend that wants to know it what will be asked, but for clips and transcripts."""
        expect = getattr(self.backend, "expect", None)
        if expect is not None:
            expect([self.prompts.render(member, self.emotions) for member in self.members])

    def _check_weights(self, rows: Iterable[Sequence[Mapping[str, Any]]]) -> None:
        """Refuse data that has read-outs of a model on this machine by other weights. Raises `ValueError`."""
        asked = [
            (one, told)
            for one in self.asked
            if (told := getattr(one.backend, "weights", None))
            and any(member.mode == "readout" for member in one.members)
        ]
        if not asked:
            return
        rows = rows if isinstance(rows, list) or len(asked) == 1 else list(rows)
        for one, told in asked:
            if unknown := check_same_weights(rows, one.backend.model, told, self.ledger):
                one._tell(
                    "unknown weights",
                    f"The data has {unknown:,} read-outs of {one.backend.model}, of which this ledger does not know "
                    "the weights: by others than these they would count as the same listener twice. The ledger of that "
                    "run tells.",
                )

    def check_upload(self, utterances: Iterable[Utterance]) -> None:
        """Refuses to send restricted data to a remote service. Raises `ValueError`."""
        if self.backend.destination is None or self.allow_upload:
            return
        restricted = [utterance.row_id for utterance in utterances if utterance.restricted]
        if restricted:
            raise ValueError(
                f"{len(restricted)} utterances (first: {restricted[0]!r}) are of a corpus whose licence restricts "
                f"passing audio on, and would be sent to {self.backend.destination}. Mend: use a model on this "
                "machine, or, if your licence allows it, pass allow_upload=True."
            )

    def tell_old_facts(self) -> None:
        """Warns, once, of facts about the model that are old."""
        old = old_facts(self.backend.capabilities, self.day())
        if old:
            self._tell(
                "old",
                f"Older than two months is what is known of {self.backend.model}: {described_old(old)}. Mend: look it "
                "up, and where it has changed give the backend capabilities={…}, on the command line --capabilities "
                "and --prices.",
            )

    def _tell(self, what: str, message: str) -> None:
        """Warns once."""
        with self._lock:
            if what in self._told:
                return
            self._told.add(what)
        logger.warning("%s", message)
