"""IEMOCAP: the votes of its outside raters, several tags a rater as weighted votes, sessions as folds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from ..emotions import CORPUS_CODES
from .building import build_corpus
from .label_files import Labels, audio_files, corpus_folder, iter_lines
from .options import ReadOptions, check_options, corpus_reader
from .utterances import CorpusError, CorpusInfo, CorpusReport, Utterance, Vote, report_on

if TYPE_CHECKING:
    from datasets import DatasetDict

_EMOTIONS = ("angry", "happy", "neutral", "sad", "frustrated", "excited", "surprise", "fear", "disgust", "other")
INFO = CorpusInfo(
    name="iemocap",
    title="IEMOCAP",
    language="en",
    emotions=_EMOTIONS,
    license="other",
    terms="Licensed by the SAIL lab of the University of Southern California for research, by signed agreement; the "
    "recordings and labels may not be handed on.",
    citation="Busso, C., Bulut, M., Lee, C.-C., Kazemzadeh, A., Mower, E., Kim, S., Chang, J. N., Lee, S., & "
    "Narayanan, S. S. (2008). IEMOCAP: Interactive emotional dyadic motion capture database. Language Resources and "
    "Evaluation, 42, 335-359. doi:10.1007/s10579-008-9076-6",
    vote_source="IEMOCAP's outside raters (usually three an utterance), who saw and heard the dialogue in order. A "
    "rater who gave m tags gives each 1/m. The actors' evaluations of themselves are left out.",
    reads="`EmoEvaluation/<dialog>.txt`, transcriptions, wavs; missing raters from `EmoEvaluation/Categorical`",
    restricted=True,
    columns={
        "consensus": "string",
        "session": "int64",
        "dialog": "string",
        "style": "string",
        "gender": "string",
        "valence": "float32",
        "arousal": "float32",
        "dominance": "float32",
    },
    weighted=True,
    split="session",
)

RATERS = 3
_HEADER = re.compile(r"\[(\d+\.?\d*)\s*-\s*(\d+\.?\d*)\]\s+(\S+)\s+(\S+)\s+\[([^\]]*)\]\s*$")
_TURN = re.compile(r"Ses0([1-5])[MF]_(impro|script)0\d[ab]?(?:_\d+b?)?_([MF])[X\d]{2}\d")
_TRANSCRIPT = re.compile(r"(Ses0\S+)\s+\[[^\]]*\]:(.*)$")
_CATEGORICAL = re.compile(r"(\S+)\s*:(.*)$")


@dataclass
class _Block:
    """One utterance of an evaluation file."""

    turn: str
    line: int
    code: str
    means: tuple[float, float, float] | None
    tags: dict[str, list[str]] = field(default_factory=dict)


def _tags(text: str) -> tuple[list[str], str]:
    """Split what follows a rater's colon into tags and comment."""
    # No tag holds a bracket, so the comment begins at the first one, whatever brackets it holds itself.
    labels, _, comment = text.partition("(")
    tags = [tag.strip() for tag in labels.split(";")]
    return [tag for tag in tags if tag], comment.strip().removesuffix(")")


def _rater_line(text: str, block: _Block, where: str, report: CorpusReport) -> None:
    rater, colon, rest = text.partition(":")
    rater = rater.strip()
    if not re.fullmatch(r"[CA]-[EFM]\d*", rater) or not colon:
        report.note("bad_line", block.turn, where, text.strip())
        return
    if not rater.startswith("C-E"):  # dimensional raters, and the actors' evaluations of themselves
        return
    tags, comment = _tags(rest)
    if "(" in comment or ")" in comment:
        report.note("brackets_in_comment", block.turn, where, comment)
    if not tags:
        report.note("bad_line", block.turn, where, text.strip())
    elif rater in block.tags:
        report.note("duplicate_rater", block.turn, where, rater)
    else:
        block.tags[rater] = tags


def _blocks(path: Path, report: CorpusReport) -> Iterator[_Block]:
    """Yield the blocks of an evaluation file; a header that cannot be read leaves out its block."""
    name = report.name(path)
    block: _Block | None = None
    broken = False
    for number, text in iter_lines(path, report):
        where = f"{name}:{number}"
        if text.startswith("["):
            if block is not None:
                yield block
            match = _HEADER.match(text)
            broken, block = match is None, None
            if match is None:
                turn = _TURN.search(text)
                report.skip("bad_header", turn[0] if turn else text[:40], where, text.strip()[:80])
                continue
            block = _Block(match[3], number, match[4], _means(match[5]))
            if block.means is None:
                report.note("bad_line", block.turn, where, f"[{match[5]}] are not three numbers")
        elif not text.strip() or text.startswith("%") or broken:
            continue
        elif block is None:
            report.note("bad_line", name, where, text.strip()[:80])
        else:
            _rater_line(text, block, where, report)
    if block is not None:
        yield block


def _means(text: str) -> tuple[float, float, float] | None:
    try:
        valence, activation, dominance = (float(part) for part in text.split(","))
    except ValueError:
        return None
    return valence, activation, dominance


def _categorical(folder: Path, dialog: str, report: CorpusReport) -> dict[str, dict[str, list[str]]]:
    """Read what each rater's own file says: turn to rater to tags."""
    found: dict[str, dict[str, list[str]]] = {}
    for path in sorted(folder.glob(f"{dialog}_e*_cat.txt")):
        rater = "C-E" + path.stem.removeprefix(f"{dialog}_e").removesuffix("_cat")
        for _, text in iter_lines(path, report):
            match = _CATEGORICAL.match(text.strip())
            tags = _tags(match[2])[0] if match else []
            if match and tags:
                found.setdefault(match[1], {}).setdefault(rater, tags)
    return found


def _transcripts(path: Path, report: CorpusReport) -> dict[str, str]:
    """Read the transcript of a dialogue; lines without a turn's name (noises, overlaps) belong to nobody."""
    found: dict[str, str] = {}
    if not path.is_file():
        report.note("no_transcript", path.stem, report.name(path))
        return found
    for number, text in iter_lines(path, report):
        where = f"{report.name(path)}:{number}"
        match = _TRANSCRIPT.match(text.strip())
        if match is None:
            if text.startswith("Ses0"):
                report.note("bad_line", path.stem, where, text.strip()[:80])
        elif match[2].strip():
            found[match[1]] = match[2].strip()
        else:
            report.note("empty_transcript", match[1], where)
    return found


def _votes(block: _Block, labels: Labels, where: str, report: CorpusReport) -> list[Vote]:
    votes: list[Vote] = []
    for rater, tags in sorted(block.tags.items()):
        names = []
        for tag in dict.fromkeys(tags):
            label = labels(tag)
            if label is None:
                report.note("unknown_label", block.turn, where, f"{rater}: {tag}")
            elif label not in names:
                names.append(label)
        votes += [(label, 1.0 / len(names), rater) for label in names]
    return votes


def _utterances(session: Path, labels: Labels, report: CorpusReport) -> Iterator[Utterance]:
    """Yield the utterances of a session, dialogue by dialogue; clips that none of them describes are reported."""
    evaluations, waves = session / "dialog" / "EmoEvaluation", session / "sentences" / "wav"
    described: set[str] = set()
    for path in sorted(evaluations.glob("*.txt")):
        if path.name.startswith("._"):  # what a Mac leaves beside a file in an archive
            continue
        dialog = path.stem
        clips = audio_files(waves / dialog)
        texts = _transcripts(session / "dialog" / "transcriptions" / path.name, report)
        own_files: dict[str, dict[str, list[str]]] | None = None
        for block in _blocks(path, report):
            described.add(block.turn)
            where = f"{report.name(path)}:{block.line}"
            if len(block.tags) < RATERS:
                if own_files is None:
                    own_files = _categorical(evaluations / "Categorical", dialog, report)
                block.tags = {**own_files.get(block.turn, {}), **block.tags}
            match = _TURN.fullmatch(block.turn)
            if match is None:
                report.skip("bad_name", block.turn, where)
                continue
            if block.turn not in clips:
                report.skip("no_audio", block.turn, where)
                continue
            if len(block.tags) < RATERS:
                report.note("few_raters", block.turn, where, f"{len(block.tags)} of {RATERS}")
            valence, arousal, dominance = block.means or (None, None, None)
            yield Utterance(
                id=block.turn,
                audio=clips[block.turn],
                where=where,
                speaker=f"Ses0{match[1]}{match[3]}",
                votes=_votes(block, labels, where, report),
                transcript=texts.get(block.turn),
                session=int(match[1]),
                consensus=CORPUS_CODES["iemocap"].get(block.code),
                extra={
                    "dialog": dialog,
                    "style": {"impro": "improvised", "script": "scripted"}[match[2]],
                    "gender": {"F": "female", "M": "male"}[match[3]],
                    "valence": valence,
                    "arousal": arousal,
                    "dominance": dominance,
                },
            )
    # A clip whose header cannot be read is reported already.
    described.update(problem.item for problem in report.problems if problem.reason == "bad_header")
    for folder in sorted(waves.iterdir()) if waves.is_dir() else ():
        for stem, clip in audio_files(folder).items():
            if stem not in described:
                report.skip("no_labels", stem, report.name(clip))


def _sessions(source: Path) -> list[Path]:
    for root in (source, *sorted(path for path in source.iterdir() if path.is_dir())):
        found = [root / f"Session{number}" for number in range(1, 6)]
        found = [path for path in found if (path / "dialog" / "EmoEvaluation").is_dir()]
        if found:
            return found
    raise CorpusError(
        f"{source} is not IEMOCAP: there is no Session1/dialog/EmoEvaluation. "
        "Mend: give the folder that holds Session1 to Session5 (IEMOCAP_full_release)."
    )


@corpus_reader(INFO)
def read_iemocap(
    source: str | Path,
    *,
    merge_excited: bool = False,
    report: CorpusReport | None = None,
    **options: Unpack[ReadOptions],
) -> DatasetDict:
    """Read IEMOCAP.

    Votes are those of the outside raters (``C-E...``) in ``EmoEvaluation/<dialog>.txt``; where fewer than three are
    there, the raters' own files in ``EmoEvaluation/Categorical`` are read too. A rater who gave m different tags gives
    each 1/m (``human_vote_weights``). The corpus's majority label is in ``consensus``, null where there is none.
    ``valence``, ``arousal`` and ``dominance`` are its means on 1 to 5. By default the column ``fold`` is the session,
    for leave-one-session-out cross-validation. The data is ``restricted``.

    Args:
        source: The folder that holds ``Session1`` to ``Session5``, or the one above.
        merge_excited: Count ``excited`` for ``happy``, as much of the literature does.
        report: Receives what is left out, by reason, file and line.

    Returns:
        The splits.

    Raises:
        CorpusError: The folder is not IEMOCAP, or nothing in it can be used.

    Example:
        >>> read_iemocap("IEMOCAP_full_release", merge_excited=True, split="speaker")  # doctest: +SKIP
    """
    if merge_excited:
        options["merge"] = {**(options.get("merge") or {}), "excited": "happy"}
    settings = check_options(INFO, source, options)
    sessions = _sessions(corpus_folder(source))
    report = report_on(sessions[0].parent, report)
    labels = Labels(_EMOTIONS)
    found = (utterance for session in sessions for utterance in _utterances(session, labels, report))
    return build_corpus(found, settings, report)
