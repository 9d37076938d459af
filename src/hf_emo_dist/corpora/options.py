"""The options that every reader of a corpus takes, and their check before any file is read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict, cast, get_args

from ..emotions import UnknownEmotionError, canonical_emotion, validate_emotions
from .utterances import CorpusInfo

__all__ = ["Outside", "ReadOptions", "Settings", "SplitBy", "corpus_settings"]

Outside = Literal["drop_vote", "drop_utterance", "other"]
SplitBy = Literal["own", "speaker", "session", "folds", "paper_random"]


class ReadOptions(TypedDict, total=False):
    """What every reader of a corpus takes, beside options of its own.

    Attributes:
        emotions: The label set. Default: all labels of the corpus.
        outside: What becomes of a vote for something else: ``"drop_vote"`` (the default) drops it, ``"drop_utterance"``
            leaves the utterance out (as arXiv 2601.14620 does), ``"other"`` counts it for ``other``, which is added to
            the label set.
        merge: Label to the label that it counts for, such as ``{"excited": "happy"}``; applied before `outside`.
        split: ``"own"`` keeps the corpus's partition (without one, all rows are ``train``); ``"speaker"`` makes
            ``train``, ``validation`` and ``test`` of whole speakers with like shares of every emotion; ``"session"``
            and ``"folds"`` number the folds of leave-one-session-out and of speaker-disjoint cross-validation in a
            column ``fold`` (one split ``train``, or three with `test_fold`); ``"paper_random"`` splits 80/20 by
            utterance with 10 % of the training rows for validation, where speakers leak.
        fractions: Split name to share, for ``"speaker"``. Default: 0.8, 0.1, 0.1.
        num_folds: For ``"folds"``. Default: 5.
        test_fold: For ``"session"`` and ``"folds"``: the fold that becomes ``test``; the next is ``validation``.
        seed: Of splits and of `limit`. Default: 0; 42 for ``"paper_random"``.
        limit: Read so many utterances at most; which ones depends on the seed and their ids.
        num_proc: Threads that read audio files. Default: one a core, at most 8.
        cache_dir: Where rows are kept while the data set is used (memory mapped). Default: a folder of the
            ``datasets`` cache that belongs to this corpus and these options, and is rewritten each time.
        progress: Whether to show progress. Default: true.
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


@dataclass(frozen=True)
class Settings:
    """:class:`ReadOptions`, checked, with every default in its place."""

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


def _label_set(info: CorpusInfo, options: ReadOptions, merge: Mapping[str, str], outside: str) -> tuple[str, ...]:
    given = options.get("emotions")
    if given is None:
        names = tuple(dict.fromkeys(merge.get(name, name) for name in info.emotions))
    else:
        names = validate_emotions(given)
        possible = {merge.get(name, name) for name in info.emotions}
        never = [name for name in names if name not in possible and name != "other"]
        if never:
            raise ValueError(
                f"{info.title} has no label for {', '.join(never)}: it has {', '.join(info.emotions)}. "
                "Mend: choose among them, or merge labels into the one you want."
            )
    if outside == "other" and info.has_votes and "other" not in names:
        names = (*names, "other")
    return names


def corpus_settings(info: CorpusInfo, source: str | Path, options: ReadOptions) -> Settings:
    """Check the options of a reader, before any file is read.

    Raises:
        TypeError: An option does not exist.
        ValueError: An option is out of range, or names a label that the corpus does not have.
    """
    from datasets import config

    unknown = sorted(set(options) - set(ReadOptions.__annotations__))
    if unknown:
        raise TypeError(f"Unknown option {', '.join(unknown)}: there are {', '.join(ReadOptions.__annotations__)}.")
    outside = options.get("outside", "drop_vote")
    split = options.get("split") or info.split
    for name, value, choices in (("outside", outside, get_args(Outside)), ("split", split, get_args(SplitBy))):
        if value not in choices:
            raise ValueError(f"`{name}` must be one of {', '.join(choices)}, got {value!r}.")
    merge = {}
    for old, new in (options.get("merge") or {}).items():
        try:
            merge[canonical_emotion(old, info.emotions)] = canonical_emotion(new)
        except UnknownEmotionError as error:
            raise ValueError(f"`merge`: {error} Mend: name labels of {info.title}.") from error
    limit, folds = options.get("limit"), options.get("num_folds", 5)
    test_fold = options.get("test_fold")
    if limit is not None and limit < 1:
        raise ValueError(f"`limit` must be at least 1, got {limit}.")
    if folds < 2:
        raise ValueError(f"`num_folds` must be at least 2, got {folds}.")
    if test_fold is not None and split not in ("session", "folds"):
        raise ValueError(f"`test_fold` is for split='session' and split='folds', not for {split!r}.")
    seed = options.get("seed")
    cache_dir = options.get("cache_dir")
    if cache_dir is None:
        plain = {key: value for key, value in options.items() if key not in ("progress", "num_proc")}
        key = hashlib.sha256(f"{Path(source).resolve()}\n{sorted(plain.items())}".encode()).hexdigest()[:16]
        cache_dir = Path(config.HF_DATASETS_CACHE) / "hf_emo_dist" / f"{info.name}-{key}"
    return Settings(
        emotions=_label_set(info, options, merge, outside),
        outside=outside,
        merge=merge,
        split=cast(SplitBy, split),
        fractions=options.get("fractions"),
        num_folds=folds,
        test_fold=test_fold,
        seed=(42 if split == "paper_random" else 0) if seed is None else seed,
        limit=limit,
        num_proc=options.get("num_proc") or min(8, os.cpu_count() or 1),
        cache_dir=Path(cache_dir).expanduser(),
        progress=options.get("progress", True),
    )
