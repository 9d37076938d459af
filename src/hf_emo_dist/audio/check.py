"""Find the clips of a whole data set that cannot be used, before training starts."""

from __future__ import annotations

import itertools
import math
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lazy import need
from ..emotions import MissingColumnError
from .decoding import MAX_SECONDS, SAMPLING_RATE, Decoded, LongAudio, check_long_audio, decode
from .faults import MENDS, MIN_SAMPLES, AudioError, BadClip


@dataclass(frozen=True)
class AudioProblem:
    """What is wrong with one clip."""

    row_id: str  # the row's id, or its number as a string
    kind: str  # one of `faults.MENDS`: missing, not_audio, unsupported, corrupt, too_large, empty, silent, ...
    detail: str  # what was found
    mend: str  # what to do about it


#: A clip whose level is under this, in dB of full scale, holds nothing that anybody could hear.
SILENCE_DBFS = -70.0


def level_dbfs(waveform: NDArray[Any]) -> float:
    """The RMS level of a waveform (T,) in dB of full scale; at least -200.

    >>> round(level_dbfs(np.sin(np.arange(16000))), 1)
    -3.0
    """
    # Without its mean: a constant offset is no sound.
    return 20.0 * math.log10(max(float(np.std(waveform, dtype=np.float64)), 1e-10))


@dataclass(frozen=True)
class _Look:
    """What a look at one clip found."""

    seconds: float = math.nan  # NaN where it could not be decoded
    verified: bool = True  # see `decoding.Decoded`
    bad: BadClip | None = None  # the first thing that is wrong with it


def _inspect(value: Any, long_audio: str, max_seconds: float, silence_dbfs: float) -> _Look:
    try:
        clip = decode(value)
    except BadClip as bad:
        return _Look(bad=bad)
    try:
        check_usable(clip, long_audio, max_seconds, silence_dbfs)
    except BadClip as bad:
        return _Look(clip.seconds, clip.verified, bad)
    return _Look(clip.seconds, clip.verified)


def check_usable(
    clip: Decoded,
    long_audio: str = "error",
    max_seconds: float = MAX_SECONDS,
    silence_dbfs: float = SILENCE_DBFS,
) -> None:
    """Raise `BadClip` for a clip at 16 kHz that can be decoded, but not trained on; arguments as `check_audio`."""
    length = len(clip.wave)
    if length < MIN_SAMPLES:
        raise BadClip("too_short", f"{length} samples at {SAMPLING_RATE} Hz give no audio token")
    level = level_dbfs(clip.wave)
    if level < silence_dbfs:
        raise BadClip("silent", f"RMS level {level:.0f} dBFS, under {silence_dbfs:g} dBFS")
    if long_audio == "error" and length > int(max_seconds * SAMPLING_RATE):
        raise BadClip("too_long", f"{clip.seconds:.2f} s, over {max_seconds:g} s")


def problem_of(
    value: Any,
    row_id: Any = None,
    long_audio: LongAudio = "error",
    max_seconds: float = MAX_SECONDS,
    silence_dbfs: float = SILENCE_DBFS,
) -> AudioProblem | None:
    """Say what is wrong with one clip: the first that holds of the kinds of :class:`AudioProblem`, or ``None``.

    Arguments as for :func:`check_audio`.

    >>> problem_of(np.zeros(16000), row_id="a").kind
    'silent'
    """
    bad = _inspect(value, long_audio, max_seconds, silence_dbfs).bad
    return None if bad is None else AudioProblem(str(row_id), bad.kind, bad.detail, bad.mend)


def _listed(ids: Sequence[str], most: int) -> str:
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return ", ".join(ids[:most]) + more


@dataclass(frozen=True)
class AudioReport:
    """What :func:`check_audio` found."""

    num_rows: int  # that were looked at
    problems: list[AudioProblem] = field(default_factory=list)  # in the order of the rows, at most one a row
    # (num_rows,), in seconds; NaN where the clip could not be decoded
    durations: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    # ids of clips without a problem that carry no length, such as a stream that was written to a pipe
    unverifiable: list[str] = field(default_factory=list)
    # numbers of the rows that can be used, for `dataset.select`
    usable: list[int] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def summary(self, max_ids: int = 100) -> str:
        """List the problems by kind, with the count, the first `max_ids` ids, examples and mends."""
        if self.ok:
            hours = np.sum(self.durations) / 3600
            lines = [f"{self.num_rows} clips checked: no problem ({hours:.2f} h of audio)."]
        else:
            lines = [f"{len(self.problems)} of {self.num_rows} clips cannot be used as they are:"]
        for kind in MENDS:
            group = [problem for problem in self.problems if problem.kind == kind]
            if group:
                lines.append(f"- {kind} ({len(group)}): {_listed([problem.row_id for problem in group], max_ids)}")
                for mend in dict.fromkeys(problem.mend for problem in group):  # a pointer asks for another than a page
                    alike = [problem for problem in group if problem.mend == mend]
                    more = f" (and {len(alike) - 1} more)" if len(alike) > 1 else ""
                    lines.append(f"  {alike[0].row_id}{more}: {alike[0].detail}.")
                    lines.append(f"  Mend: {mend}.")
        if self.unverifiable:
            lines.append(
                f"{len(self.unverifiable)} clips carry no length, so that nobody can tell whether their end is there: "
                f"{_listed(self.unverifiable, max_ids)}."
            )
        return "\n".join(lines)

    def raise_if_any(self) -> None:
        """Raise an :class:`AudioError` with the summary unless :attr:`ok`."""
        if not self.ok:
            error = AudioError(self.summary())
            error.kind = self.problems[0].kind
            raise error


def check_audio(
    dataset: Any,
    column: str = "audio",
    id_column: str = "id",
    long_audio: LongAudio = "error",
    num_workers: int | None = None,
    silence_dbfs: float = SILENCE_DBFS,
    progress: bool = True,
    max_seconds: float = MAX_SECONDS,
) -> AudioReport:
    """Decode every clip of a data set once and list those that cannot be used, before training starts.

    Whatever a clip is, it becomes a line of the report and no error. To go on without the clips that cannot be used,
    ``dataset.select(report.usable)``. Only a few clips are in memory at a time. Decoding runs in threads: libsndfile
    works outside Python's lock.

    Args:
        dataset: A ``datasets.Dataset`` (one split), or any iterable of rows (dicts).
        column: Column of the audio, in any shape that :func:`load_audio` takes.
        id_column: Column of the ids; where there is none, rows are named by their number.
        long_audio: What training will do with clips over `max_seconds`; they are a problem with ``"error"`` only.
        num_workers: Threads. Default: one a core, at most 8.
        silence_dbfs: A clip is silent whose RMS level, its mean taken off, is under this, in dB of full scale.
        progress: Whether to show a progress bar.
        max_seconds: Longest clip, in seconds.

    Returns:
        The problems, the durations, the rows that can be used, and the clips of which nobody can tell whether they
        are whole.

    Raises:
        KeyError: There is no such column.
        TypeError: `dataset` holds several splits.

    Example:
        >>> noise = np.random.default_rng(0).uniform(-0.1, 0.1, 16000)
        >>> rows = [{"id": "good", "audio": noise}, {"id": "bad", "audio": b"no audio"}]
        >>> [(problem.row_id, problem.kind) for problem in check_audio(rows, progress=False).problems]
        [('bad', 'not_audio')]
    """
    from tqdm.auto import tqdm

    if isinstance(dataset, Mapping):
        raise TypeError(f"This holds several splits ({', '.join(dataset)}). Mend: check one at a time, dataset[split].")
    check_long_audio(long_audio)
    total = len(dataset) if hasattr(dataset, "__len__") else None
    workers = num_workers or min(8, os.cpu_count() or 1)
    durations: list[float] = []
    problems: list[AudioProblem] = []
    unverifiable: list[str] = []
    usable: list[int] = []
    waiting: deque[tuple[str, Future[_Look]]] = deque()
    if total:
        need("soundfile", "audio")  # One clear error, not one a row.
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=total, desc="Checking audio", unit="clip", disable=not progress) as bar,
    ):

        def settle() -> None:
            row_id, future = waiting.popleft()
            look = future.result()
            if look.bad is not None:
                problems.append(AudioProblem(row_id, look.bad.kind, look.bad.detail, look.bad.mend))
            else:
                usable.append(len(durations))
                if not look.verified:
                    unverifiable.append(row_id)
            durations.append(look.seconds)
            bar.update()

        for row_id, value in _clips(dataset, column, id_column):
            waiting.append((row_id, pool.submit(_inspect, value, long_audio, max_seconds, silence_dbfs)))
            if len(waiting) >= 2 * workers:
                settle()
        while waiting:
            settle()
    return AudioReport(len(durations), problems, np.asarray(durations, dtype=np.float64), unverifiable, usable)


def _clips(dataset: Any, column: str, id_column: str) -> Iterator[tuple[str, Any]]:
    """Yield id and audio of each row, encoded where the data set can give it so."""
    if hasattr(dataset, "column_names") and hasattr(dataset, "cast_column"):
        from datasets import Audio

        names = dataset.column_names or [column]
        if column in names:
            dataset = dataset.select_columns([name for name in (id_column, column) if name in names])
            feature = (dataset.features or {}).get(column)
            if isinstance(feature, Audio) and feature.decode:
                dataset = dataset.cast_column(column, Audio(sampling_rate=feature.sampling_rate, decode=False))
    for index, row in zip(itertools.count(), dataset, strict=False):
        if column not in row:
            raise MissingColumnError(
                f"No column {column!r} among {', '.join(row)}. Mend: pass column=... with the audio's name."
            )
        yield str(row.get(id_column, index)), row[column]
