"""`annotate_with_gemini`: a function for `Dataset.map` that needs no object to be made first."""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

from ..emotions import PAPER_EMOTIONS
from .annotator import ANNOTATOR_VERSION, Annotator, default_ledger
from .backends import BackendChoice
from .backends._audio import AnnotatorAudio
from .backends.gemini import GeminiBackend
from .capabilities import ModelCapabilities
from .ledger.ledger import Ledger
from .ledger.run_ledger import RunLedger
from .prompts import PROMPT_VERSION, PromptSet
from .run.jobs import RunSettings
from .types import PanelMember, canonical_json

logger = logging.getLogger(__name__)


class _AnnotateWithGemini:
    """Has Gemini vote on utterances, as a panel of annotators; a function for ``Dataset.map``.

    ``ds.map(annotate_with_gemini)`` works with no argument: the four emotions of arXiv 2601.14620, ten annotators, the
    key from ``GEMINI_API_KEY`` in the environment, replies kept in the Hugging Face cache folder. Faster, since the
    requests of a batch are in flight together: ``ds.map(annotate_with_gemini, batched=True, batch_size=256,
    fn_kwargs={...})``. For a whole corpus prefer ``Annotator(...).annotate(ds)``, which has no barrier between batches.

    Args:
        example_or_batch: A row or a batch with a column ``audio``, and ``id`` and ``transcript`` where there are any.
        model, client, capabilities, thinking, max_output_tokens, safety, answers_as, long_audio: See `GeminiBackend`.

    All other arguments are those of `Annotator`.

    Returns:
        The new columns ``synthetic_annotations`` and ``synthetic_votes``.

    Raises:
        AnnotationIncomplete: The run had to stop; the same call goes on from there.
        ValueError: An argument or a row does not fit.

    Example:
        >>> ds = ds.map(annotate_with_gemini, batched=True, batch_size=256,
        ...             fn_kwargs={"num_annotations": 10, "ledger": "votes.sqlite"})  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self.__doc__ = type(self).__doc__
        self.__name__ = self.__qualname__ = "annotate_with_gemini"
        self._made: dict[str, Annotator] = {}

    def __call__(
        self,
        example_or_batch: Mapping[str, Any],
        *,
        emotions: Sequence[str] = PAPER_EMOTIONS,
        preset: str = "default",
        panel: str | Path | Sequence[PanelMember | Mapping[str, Any]] | None = None,
        num_annotations: int = 10,
        num_distributions: int = 0,
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
        model: str | None = None,
        client: Any = None,
        capabilities: ModelCapabilities | Mapping[str, Any] | None = None,
        thinking: int | str | None = None,
        max_output_tokens: int | None = None,
        safety: Literal["none", "high", "default"] = "none",
        answers_as: str | Sequence[str] = (),
        long_audio: AnnotatorAudio = "error",
        service_tier: Literal["standard", "flex"] = "standard",
        today: date | None = None,
    ) -> Any:
        """See the class."""
        arguments = {**locals()}  # before any other name is bound here
        del arguments["self"], arguments["example_or_batch"]
        # One annotator for all batches of a map: it keeps its connections and its ledger open. A fork makes its own.
        name = f"{os.getpid()} " + canonical_json({key: repr(value) for key, value in arguments.items()})
        if name not in self._made:
            own = inspect.signature(GeminiBackend).parameters
            options = {key: arguments.pop(key) for key in own}
            self._made[name] = Annotator(BackendChoice("gemini", options.pop("model"), options), **arguments)
            _remember(self._made[name].ledger)
        return self._made[name](example_or_batch)

    def __reduce__(self) -> tuple[Any, ...]:
        # What `Dataset.map` takes its fingerprint from. It does not see the arguments, and so does not know the ledger:
        # failures in any ledger that was used on this machine make it another, and `map` then reads the votes from the
        # ledger again.
        digest = hashlib.sha256()
        for path in _remembered():
            digest.update(f"{path} {Ledger.failures_digest_of(path)}\n".encode())
        return (_restore, (ANNOTATOR_VERSION, PROMPT_VERSION, digest.hexdigest()))

    def __repr__(self) -> str:
        return "<function annotate_with_gemini>"


def _restore(*_: Any) -> _AnnotateWithGemini:
    return annotate_with_gemini


def _list_file() -> Path:
    return default_ledger().with_name("ledgers.txt")


def _remembered() -> list[str]:
    file = _list_file()
    return sorted(set(file.read_text(encoding="utf-8").splitlines())) if file.is_file() else []


def _remember(ledger: RunLedger) -> None:
    path = str(Path(ledger.path).expanduser().resolve())
    if path in _remembered():
        return
    try:
        _list_file().parent.mkdir(parents=True, exist_ok=True)
        with _list_file().open("a", encoding="utf-8") as file:
            file.write(path + "\n")
    except OSError as error:  # a cache folder that cannot be written costs a fingerprint, and no votes
        logger.debug("%s cannot be written: %s", _list_file(), error)


annotate_with_gemini = _AnnotateWithGemini()
