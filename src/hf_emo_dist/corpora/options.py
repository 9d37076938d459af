"""What every reader of a corpus takes: the options with their defaults, their check, and the form of a reader."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypedDict, cast, get_args, get_type_hints

from ..distributions import check_choice
from ..emotions import UnknownEmotionError, canonical_emotion, validate_emotions
from .utterances import CorpusInfo, SplitBy

if TYPE_CHECKING:
    from datasets import DatasetDict

Outside = Literal["drop_vote", "drop_utterance", "other"]
P = ParamSpec("P")


class ReadOptions(TypedDict, total=False):
    """What every reader of a corpus takes, beside options of its own.

    Attributes:
        emotions: The label set. Default: all labels of the corpus.
        outside: What becomes of a vote for something else: ``"drop_vote"`` drops it, ``"drop_utterance"`` leaves the
            utterance out (as arXiv 2601.14620 does), ``"other"`` counts it for ``other``, which is added to the label
            set.
        merge: Label to the label that it counts for, such as ``{"excited": "happy"}``; applied before `outside`.
        split: ``"own"`` keeps the corpus's partition (without one, all rows are ``train``); ``"speaker"`` makes
            ``train``, ``validation`` and ``test`` of whole speakers with like shares of every emotion; ``"session"``
            and ``"folds"`` number the folds of leave-one-session-out and of speaker-disjoint cross-validation in a
            column ``fold`` (one split ``train``, or three with `test_fold`); ``"paper_random"`` splits 80/20 by
            utterance with 10 % of the training rows for validation, where speakers leak.
        fractions: Split name to share, for ``"speaker"``. Default: 0.8, 0.1, 0.1.
        num_folds: How many, for ``"folds"``.
        test_fold: For ``"session"`` and ``"folds"``: the fold that becomes ``test``; the next is ``validation``.
        seed: Of splits and of `limit`. Default: 0; 42 for ``"paper_random"``.
        limit: Read so many utterances at most; which ones depends on the seed and their ids.
        num_proc: Threads that read audio files. Default: one a core, at most 8.
        cache_dir: Where rows are kept while the data set is used (memory mapped). Default: a folder of the
            ``datasets`` cache that belongs to this corpus and these options, and is rewritten each time.
        progress: Whether to show progress.
    """

    emotions: Sequence[str] | None
    outside: Outside
    merge: Mapping[str, str] | None
    split: SplitBy | None
    fractions: Mapping[str, float] | None
    num_folds: int
    test_fold: int | None
    seed: int | None
    limit: int | None
    num_proc: int | None
    cache_dir: str | Path | None
    progress: bool


#: The default of every option. `split` is the exception: each corpus has its own, ``CorpusInfo.split``.
DEFAULTS: ReadOptions = {
    "emotions": None,
    "outside": "drop_vote",
    "merge": None,
    "split": None,
    "fractions": None,
    "num_folds": 5,
    "test_fold": None,
    "seed": None,
    "limit": None,
    "num_proc": None,
    "cache_dir": None,
    "progress": True,
}


@dataclass(frozen=True)
class Settings:
    """What is to be read, and how: :class:`ReadOptions`, checked, with every default in its place."""

    info: CorpusInfo
    emotions: tuple[str, ...]
    outside: Outside
    merge: Mapping[str, str]
    split: SplitBy
    fractions: Mapping[str, float] | None
    num_folds: int
    test_fold: int | None
    seed: int
    limit: int | None
    num_proc: int
    cache_dir: Path
    progress: bool


class CorpusReader(Protocol[P]):
    """A function that reads a corpus, with what is known of the corpus beside it."""

    info: CorpusInfo
    __signature__: inspect.Signature

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> DatasetDict:
        """Read the corpus."""


def corpus_reader(info: CorpusInfo) -> Callable[[Callable[P, DatasetDict]], CorpusReader[P]]:
    """Make a function the reader of a corpus.

    Type checkers see its ``**options: Unpack[ReadOptions]``; ``inspect``, ``help`` and the command line, which is made
    from the signature, see each of them with its type, its default and its description.

    Args:
        info: The corpus; it becomes the attribute ``info`` of the function.

    Returns:
        A decorator for ``read_<corpus>(source, *, <own options>, report=None, **options: Unpack[ReadOptions])``.

    Example:
        >>> from hf_emo_dist.corpora import read_iemocap
        >>> read_iemocap.info.title, inspect.signature(read_iemocap).parameters["split"].default
        ('IEMOCAP', 'session')
    """

    def decorate(function: Callable[P, DatasetDict]) -> CorpusReader[P]:
        reader = cast("CorpusReader[P]", function)
        reader.info = info
        spell_out(reader, ReadOptions, {**DEFAULTS, "split": info.split})
        return reader

    return decorate


def spell_out(function: Any, options: type, defaults: Mapping[str, Any]) -> None:
    """Write the options of a ``**options: Unpack[...]`` into a function's signature and docstring.

    Args:
        function: Has a docstring with a section ``Args:``.
        options: A ``TypedDict`` whose docstring has a section ``Attributes:``.
        defaults: The default of every option.
    """
    # Readers import what they return for type checkers only, so those names cannot be looked up.
    returned = {"DatasetDict": "DatasetDict"}
    written = inspect.signature(function, locals=returned, eval_str=True)
    own = [one for one in written.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=hint)
        for name, hint in get_type_hints(options).items()
    ]
    function.__signature__ = written.replace(parameters=[*own, *shared])
    text, _, arguments = inspect.cleandoc(function.__doc__ or "").partition("\nArgs:\n")
    described, blank, rest = arguments.partition("\n\n")
    of_options = inspect.cleandoc(options.__doc__ or "").partition("Attributes:\n")[2]
    function.__doc__ = f"{text.rstrip()}\n\nArgs:\n{described}\n{of_options}{blank}{rest}"


def cache_folder(name: str, key: str) -> Path:
    """The folder of the ``datasets`` cache for the rows of one source, read in one way."""
    from datasets import config

    return Path(config.HF_DATASETS_CACHE) / "hf_emo_dist" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def check_options(info: CorpusInfo, source: str | Path, options: ReadOptions) -> Settings:
    """Check the options of a reader, before any file is read.

    Raises:
        TypeError: An option does not exist.
        ValueError: An option is out of range, or names a label that the corpus does not have.
    """
    unknown = sorted(set(options) - set(DEFAULTS))
    if unknown:
        raise TypeError(f"Unknown option {', '.join(unknown)}. Mend: choose among {', '.join(DEFAULTS)}.")
    given: ReadOptions = {**DEFAULTS, **options}
    outside, split = given["outside"], given["split"] or info.split
    check_choice("outside", outside, get_args(Outside))
    check_choice("split", split, get_args(SplitBy))
    merge = {}
    for old, new in (given["merge"] or {}).items():
        try:
            merge[canonical_emotion(old, info.emotions)] = canonical_emotion(new)
        except UnknownEmotionError as error:
            raise ValueError(f"`merge`: {error} Mend: name labels of {info.title}.") from error
    limit, num_folds, test_fold, seed = given["limit"], given["num_folds"], given["test_fold"], given["seed"]
    if limit is not None and limit < 1:
        raise ValueError(f"`limit` must be at least 1, got {limit}.")
    if num_folds < 2:
        raise ValueError(f"`num_folds` must be at least 2, got {num_folds}.")
    if test_fold is not None and split not in ("session", "folds"):
        raise ValueError(f"`test_fold` is for split='session' and split='folds', not for {split!r}.")
    cache_dir = given["cache_dir"]
    if cache_dir is None:
        told = sorted((name, value) for name, value in options.items() if name not in ("progress", "num_proc"))
        cache_dir = cache_folder(info.name, f"{Path(source).resolve()}\n{told}")
    settings: dict[str, Any] = {
        **given,
        "emotions": _label_set(info, given["emotions"], merge, outside),
        "merge": merge,
        "split": split,
        "seed": (42 if split == "paper_random" else 0) if seed is None else seed,
        "num_proc": given["num_proc"] or min(8, os.cpu_count() or 1),
        "cache_dir": Path(cache_dir).expanduser(),
    }
    return Settings(info, **settings)


def _label_set(
    info: CorpusInfo, given: Sequence[str] | None, merge: Mapping[str, str], outside: Outside
) -> tuple[str, ...]:
    possible = tuple(dict.fromkeys(merge.get(name, name) for name in info.emotions))
    names = possible if given is None else validate_emotions(given)
    never = [name for name in names if name not in possible and name != "other"]
    if never:
        raise ValueError(
            f"{info.title} has no label for {', '.join(never)}: it has {', '.join(info.emotions)}. "
            "Mend: choose among them, or merge labels into the one you want."
        )
    return (*names, "other") if outside == "other" and info.has_votes and "other" not in names else names
