"""Checking all clips of a split, here or by the engine of this block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..audio.check import AudioProblem, AudioReport, check_audio
from ..audio.decoding import LongAudio
from ..data.map_engine import current_engine

if TYPE_CHECKING:
    from datasets import Dataset

_ROWS = 64


class _Check:
    """What `check_audio` finds of a batch of rows, a line a row."""

    def __init__(self, long_audio: LongAudio) -> None:
        self.long_audio = long_audio

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        count = len(batch["audio"])
        rows = [{"id": str(number), "audio": clip} for number, clip in enumerate(batch["audio"])]
        found = check_audio(rows, long_audio=self.long_audio, num_workers=1, progress=False)
        problems = {int(problem.row_id): problem for problem in found.problems}
        unsure = {int(name) for name in found.unverifiable}
        told = {
            name: [getattr(problems[i], name) if i in problems else None for i in range(count)]
            for name in ("kind", "detail", "mend")
        }
        return {**told, "seconds": found.durations, "unverifiable": [i in unsure for i in range(count)]}


def check_clips(rows: Dataset, long_audio: LongAudio = "error") -> AudioReport:
    """As `check_audio`: the same report, by the workers of the engine where there is one."""
    engine = current_engine()
    if engine is None:
        return check_audio(rows, long_audio=long_audio)
    from datasets import Features, Value

    text = {name: Value("string") for name in ("kind", "detail", "mend")}
    features = Features({**text, "seconds": Value("float64"), "unverifiable": Value("bool")})
    ids = rows["id"][:] if "id" in rows.column_names else range(len(rows))
    clips = rows.select_columns(["audio"])
    seconds: list[float] = []
    report = AudioReport(len(rows))
    for table in engine.map(clips, _Check(long_audio), features, _ROWS, "Checking audio"):
        for row in table.to_pylist():
            row_id = str(ids[len(seconds)])
            if row["kind"] is not None:
                report.problems.append(AudioProblem(row_id, row["kind"], row["detail"], row["mend"]))
            else:
                report.usable.append(len(seconds))
                if row["unverifiable"]:
                    report.unverifiable.append(row_id)
            seconds.append(row["seconds"])
    return AudioReport(len(rows), report.problems, np.asarray(seconds), report.unverifiable, report.usable)
