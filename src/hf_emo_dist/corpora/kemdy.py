"""KEMDy19 and KEMDy20: Korean dialogues, every segment judged by ten listeners who are told apart.

``annotation/*.csv`` has two lines of headings: the first names ``Segment ID``, ``Total Evaluation`` and the ten
evaluators, the second says ``Emotion, Valence, Arousal`` below each of them. KEMDy19 has times of more signals before
the segment and two files a session, ``Session01_F_res.csv`` and ``Session01_M_res.csv``; KEMDy20 has one,
``Sess01_eval.csv``. The sound of segment ``Sess01_script01_User001M_001`` is the WAV file of that name, with a text
file beside it (UTF-8 in KEMDy19, CP949 in KEMDy20).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Unpack

from .._files import refuse_special
from .building import build_corpus
from .label_files import Labels, audio_below, corpus_folder, find_folder, iter_lines, mean, number
from .options import ReadOptions, check_options, corpus_reader
from .utterances import CorpusError, CorpusInfo, CorpusReport, Utterance, Vote, report_on

if TYPE_CHECKING:
    from datasets import DatasetDict

_EMOTIONS = ("angry", "sad", "happy", "disgust", "fear", "surprise", "neutral")
INFO = CorpusInfo(
    name="kemdy",
    title="KEMDy19 or KEMDy20",
    language="ko",
    emotions=_EMOTIONS,
    license="other",
    terms="Given out by ETRI after its license agreement is signed; the recordings and labels may not be handed on.",
    citation="Noh, K. J., & Jeong, H. KEMDy19 and KEMDy20: Korean emotion multimodal databases. ETRI. "
    "https://nanum.etri.re.kr/share/kjnoh2/KEMDy20",
    vote_source="Ten external evaluators a segment, who listened to it and chose one of seven emotions.",
    reads="`annotation/*.csv`, wavs and texts below",
    restricted=True,
    columns={"consensus": "string", "gender": "string", "valence": "float32", "arousal": "float32"},
    split="session",
)

_SEGMENT = re.compile(r"Sess(\d{2})_(?:script|impro)\d{2}_(?:User\d{3})?([FM])(?:\d{3}|_\d{3})")
_TRIPLE = ["emotion", "valence", "arousal"]
_CODES = {"disqust": "disgust"}  # so the files have it


class _Columns(NamedTuple):
    """Where things stand in an annotation file."""

    segment: int
    evaluators: list[tuple[str, int]]  # name, and the column of the emotion; valence and arousal follow


def _columns(first: Sequence[str], second: Sequence[str], name: str) -> _Columns:
    heads = [cell.strip() for cell in first]
    kinds = [cell.strip().lower() for cell in second]
    segment = next((i for i, head in enumerate(heads) if head.lower() == "segment id"), None)
    if segment is None or kinds[segment + 1 : segment + 4] != _TRIPLE:
        raise CorpusError(
            f"{name} does not begin with KEMDy's two lines of headings (Segment ID, Total Evaluation and the "
            "evaluators; then Emotion, Valence, Arousal below each). Mend: check that it is an annotation file."
        )
    starts = [i for i in range(segment + 4, len(kinds) - 2, 3) if kinds[i : i + 3] == _TRIPLE]
    heads += [""] * (len(kinds) - len(heads))
    return _Columns(segment, [(heads[i] or f"evaluator {k}", i) for k, i in enumerate(starts, start=1)])


class _Judged(NamedTuple):
    """One segment as an annotation file has it."""

    where: str
    votes: list[Vote]
    consensus: str | None
    valence: float | None
    arousal: float | None


def _annotations(path: Path, report: CorpusReport, labels: Labels) -> Iterator[tuple[str, _Judged]]:
    name = report.name(path)
    # No cell is quoted: a quote is a character, so that an unclosed one cannot swallow rows.
    rows = csv.reader((text + "\n" for _, text in iter_lines(path, report)), quoting=csv.QUOTE_NONE)
    first, second = next(rows, []), next(rows, [])
    columns = _columns(first, second, name)
    for cells in rows:
        where = f"{name}:{rows.line_num}"
        if not any(cell.strip() for cell in cells):
            continue
        cells = [cell.strip() for cell in cells]
        if len(cells) < columns.segment + 4 or not cells[columns.segment]:
            report.note("bad_line", name, where, f"{len(cells)} cells")
            continue
        segment = cells[columns.segment]
        votes: list[Vote] = []
        for evaluator, column in columns.evaluators:
            text = cells[column] if column < len(cells) else ""
            label = labels(text) if text else None
            if label is not None:
                votes.append((label, 1.0, evaluator))
            else:
                report.note(
                    "unknown_label" if text else "no_answer", segment, where, f"{evaluator}: {text}".rstrip(": ")
                )
        total = cells[columns.segment + 1 : columns.segment + 4]
        valence, arousal = number(total[1]), number(total[2])
        if valence is None:
            valence = mean(number(cells[i + 1]) for _, i in columns.evaluators if i + 2 < len(cells))
        if arousal is None:
            arousal = mean(number(cells[i + 2]) for _, i in columns.evaluators if i + 2 < len(cells))
        yield segment, _Judged(where, votes, labels(total[0]), valence, arousal)


def _text(path: Path, segment: str, report: CorpusReport) -> str | None:
    refuse_special(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        report.note("no_transcript", segment, report.name(path))
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp949", errors="replace")
    text = " ".join(text.split())
    if not text:
        report.note("empty_transcript", segment, report.name(path))
    return text or None


def _judged(folder: Path, report: CorpusReport) -> dict[str, _Judged]:
    """Every segment once. KEMDy19 lists a segment in both speakers' files: the speaker's own one counts."""
    labels = Labels(_EMOTIONS, dict(_CODES))
    found: dict[str, _Judged] = {}
    own: set[str] = set()
    for path in sorted(folder.glob("*.csv")):
        whose = re.search(r"_([FM])_", path.name)
        for segment, judged in _annotations(path, report, labels):
            match = _SEGMENT.fullmatch(segment)
            mine = whose is None or match is None or whose[1] == match[2]
            if segment in found and (segment in own or not mine):
                if mine or judged.votes != found[segment].votes:
                    detail = "judged again, otherwise" if judged.votes != found[segment].votes else "listed again"
                    report.note("duplicate_rater", segment, judged.where, detail)
                continue
            if segment in found and judged.votes != found[segment].votes:
                report.note("duplicate_rater", segment, found[segment].where, "judged again, otherwise")
            found[segment] = judged
            if mine:
                own.add(segment)
    return found


def _utterances(root: Path, folder: Path, report: CorpusReport) -> Iterator[Utterance]:
    clips, again = audio_below(root)
    judged = _judged(folder, report)
    for segment, (where, votes, consensus, valence, arousal) in judged.items():
        match = _SEGMENT.fullmatch(segment)
        if match is None:
            report.skip("bad_name", segment, where)
        elif segment not in clips:
            report.skip("no_audio", segment, where)
        else:
            speaker = segment.split("_")[2] if "_User" in segment else f"Sess{match[1]}{match[2]}"
            yield Utterance(
                id=segment,
                audio=clips[segment],
                where=where,
                speaker=speaker,
                session=int(match[1]),
                votes=votes,
                transcript=partial(_text, Path(clips[segment]).with_suffix(".txt"), segment, report),
                consensus=consensus,
                extra={
                    "gender": {"F": "female", "M": "male"}[match[2]],
                    "valence": valence,
                    "arousal": arousal,
                },
            )
    for stem, path in again:
        report.skip("duplicate_id", stem, report.name(path), "another file of this name is read")
    for stem, path in clips.items():
        if stem not in judged:
            report.skip("no_labels", stem, report.name(path))


@corpus_reader(INFO)
def read_kemdy(
    source: str | Path, *, report: CorpusReport | None = None, **options: Unpack[ReadOptions]
) -> DatasetDict:
    """Read KEMDy19 or KEMDy20.

    A vote is an evaluator's emotion; evaluators are named as the file's first line names them, so that the same name in
    two sessions need not be the same person. ``consensus`` is the corpus's majority where it is one emotion.
    ``valence`` and ``arousal`` are its means on 1 (negative, low) to 5; there is no dominance. Marks such as ``b/``
    stay in the transcripts. A session has two speakers, whom no other has. The data is ``restricted``.

    Args:
        source: The folder that holds ``annotation`` and ``wav``, of one of the two corpora.
        report: Receives what is left out, by reason, file and line.

    Returns:
        The splits.

    Raises:
        CorpusError: The folder is neither corpus, or nothing in it can be used.

    Example:
        >>> read_kemdy("KEMDy20_v1_1", split="folds")  # doctest: +SKIP
    """
    settings = check_options(INFO, source, options)
    root = corpus_folder(source)
    folder = find_folder(root, "annotation", "annotations")
    if folder is None or not any(folder.glob("*.csv")):
        raise CorpusError(
            f"There is no annotation/*.csv in {root}. Mend: give the folder that holds annotation and wav."
        )
    report = report_on(root, report)
    return build_corpus(_utterances(root, folder, report), settings, report)
