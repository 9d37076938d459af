"""Emozionalmente: acted Italian speech by amateurs, each clip judged by about five people who are named.

The layout is that of the archive on Zenodo (records 6569824 and 12616095): ``audio/*.wav``, ``metadata/samples.csv``
(``file_name, sentence, actor, emotion_expressed``), ``metadata/evaluations.csv`` (``file_name, evaluator,
audio_quality, emotion_recognized``), and in the later record speaker-disjoint ``metadata/split/{train,dev,test}.csv``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from .building import build_corpus
from .label_files import Labels, audio_files, corpus_folder, file_name, iter_csv, split_name, stem_of
from .options import ReadOptions, check_options, corpus_reader
from .utterances import CorpusError, CorpusInfo, CorpusReport, Utterance, Vote, report_on

if TYPE_CHECKING:
    from datasets import DatasetDict

_EMOTIONS = ("angry", "joy", "neutral", "sad", "fear", "disgust", "surprise")
INFO = CorpusInfo(
    name="emozionalmente",
    title="Emozionalmente",
    language="it",
    emotions=_EMOTIONS,
    license="cc-by-4.0",
    terms="CC BY 4.0.",
    citation="Catania, F., & Garzotto, F. (2022). Emozionalmente: a crowdsourced Italian speech emotional corpus. "
    "Zenodo. doi:10.5281/zenodo.6569824",
    vote_source="Emozionalmente's volunteer evaluators (about five a clip), who named the emotion that they "
    "recognised.",
    reads="`metadata/samples.csv`, `evaluations.csv`, `split/*.csv`; `audio`",
    columns={"intended": "string"},
)


def _votes(path: Path, report: CorpusReport) -> dict[str, tuple[str, list[Vote]]]:
    labels = Labels(_EMOTIONS)
    found: dict[str, tuple[str, list[Vote]]] = {}
    seen: set[tuple[str, str]] = set()
    for line, row in iter_csv(path, report, required=("file_name", "evaluator", "emotion_recognized")):
        where = f"{report.name(path)}:{line}"
        name = file_name(row["file_name"], where, report)
        label = labels(row["emotion_recognized"])
        if label is None:
            report.note("unknown_label", stem_of(name), where, row["emotion_recognized"])
        elif (name, row["evaluator"]) in seen:
            report.note("duplicate_rater", stem_of(name), where, row["evaluator"])
        else:
            seen.add((name, row["evaluator"]))
            found.setdefault(name, (where, []))[1].append((label, 1.0, row["evaluator"]))
    return found


def _splits(folder: Path, report: CorpusReport) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.csv")):
        for line, row in iter_csv(path, report, required=("file_name",)):
            found[file_name(row["file_name"], f"{report.name(path)}:{line}", report)] = split_name(path.stem)
    return found


def _utterances(root: Path, report: CorpusReport) -> Iterator[Utterance]:
    metadata = root / "metadata"
    votes = _votes(metadata / "evaluations.csv", report)
    splits = _splits(metadata / "split", report)
    clips = {os.path.basename(path): path for path in audio_files(root / "audio").values()}
    labels = Labels(_EMOTIONS)
    described: set[str] = set()
    samples = metadata / "samples.csv"
    for line, row in iter_csv(samples, report, required=("file_name", "sentence", "actor", "emotion_expressed")):
        where = f"{report.name(samples)}:{line}"
        name = file_name(row["file_name"], where, report)
        described.add(name)
        if name not in clips:
            report.skip("no_audio", stem_of(name), where)
            continue
        if not row["sentence"]:
            report.note("empty_transcript", stem_of(name), where)
        intended = labels(row["emotion_expressed"])
        if intended is None:
            report.note("unknown_label", stem_of(name), where, row["emotion_expressed"])
        yield Utterance(
            id=stem_of(name),
            audio=clips[name],
            where=where,
            speaker=row["actor"] or None,
            votes=votes.get(name, (where, []))[1],
            transcript=row["sentence"] or None,
            split=splits.get(name),
            intended=intended,
        )
    for name, path in clips.items():
        if name not in described:
            report.skip("no_labels", stem_of(name), report.name(path))
    for name, (where, _) in votes.items():
        if name not in described and name not in clips:
            report.skip("no_audio", stem_of(name), where)


@corpus_reader(INFO)
def read_emozionalmente(
    source: str | Path, *, report: CorpusReport | None = None, **options: Unpack[ReadOptions]
) -> DatasetDict:
    """Read Emozionalmente.

    Its ``joy`` is kept apart from ``happy``: ``merge={"joy": "happy"}`` joins them. Its own split is the archive's
    speaker-disjoint partition where it is there, else one split ``train``.

    Args:
        source: The folder that holds ``audio`` and ``metadata``, or the one above.
        report: Receives what is left out, by reason, file and line.

    Returns:
        The splits.

    Raises:
        CorpusError: The folder is not Emozionalmente, or nothing in it can be used.

    Example:
        >>> read_emozionalmente("emozionalmente_dataset", merge={"joy": "happy"})  # doctest: +SKIP
    """
    settings = check_options(INFO, source, options)
    root = corpus_folder(source)
    below = sorted(path for path in root.iterdir() if path.is_dir())
    root = next((path for path in (root, *below) if (path / "metadata" / "samples.csv").is_file()), root)
    for name in ("samples.csv", "evaluations.csv"):
        if not (root / "metadata" / name).is_file():
            raise CorpusError(
                f"{source} is not Emozionalmente: there is no metadata/{name}. "
                "Mend: give the folder that holds audio and metadata."
            )
    report = report_on(root, report)
    return build_corpus(_utterances(root, report), settings, report)
