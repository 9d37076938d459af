"""CREMA-D: crowd votes on the voice, the face, or both, with or without the audio."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack, get_args

import numpy as np

from .._files import refuse_special
from ..data.protocols import Kept, Protocol, protocol_of
from ..distributions import FloatArray, check_choice
from ..emotions import CORPUS_CODES, canonical_emotion, is_known_emotion
from .building import build_corpus
from .label_files import audio_files, find_folder, iter_csv
from .options import ReadOptions, check_options, corpus_reader
from .utterances import CorpusError, CorpusInfo, CorpusReport, Utterance, Vote, report_on

if TYPE_CHECKING:
    from datasets import DatasetDict

Modality = Literal["voice", "face", "audiovisual"]
MODALITIES: tuple[str, ...] = get_args(Modality)

_EMOTIONS = ("angry", "happy", "neutral", "sad", "fear", "disgust")
INFO = CorpusInfo(
    name="cremad",
    title="CREMA-D",
    language="en",
    emotions=_EMOTIONS,
    license="odbl",
    terms="Open Database License 1.0; contents under the Database Contents License 1.0.",
    citation="Cao, H., Cooper, D. G., Keutmann, M. K., Gur, R. C., Nenkova, A., & Verma, R. (2014). CREMA-D: "
    "Crowd-sourced emotional multimodal actors dataset. IEEE Transactions on Affective Computing, 5(4), 377-390. "
    "doi:10.1109/TAFFC.2014.2336244",
    vote_source="CREMA-D's crowd raters, who chose one of six emotions.",
    reads="`finishedResponses.csv`, else `tabulatedVotes.csv`; `AudioWAV` or `AudioMP3`; votes of one "
    "`--modality`: voice, face, audiovisual",
    columns={
        **{"intended": "string", "level": "string", "sentence": "string", "modality": "string"},
        # how it was read, for whoever holds figures against a protocol's
        **{"late_responses": "string", "marked_clips": "string"},
    },
    raters=True,
    split="speaker",
)

_CLIP = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX?)")
_QUERY_TYPES = {"1": "voice", "2": "face", "3": "audiovisual"}
_LETTERS = {"A": "angry", "D": "disgust", "F": "fear", "H": "happy", "N": "neutral", "S": "sad"}
_TEXTS = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
_FILES = ("finishedResponses.csv", "processedResults/tabulatedVotes.csv", "tabulatedVotes.csv", "votes.csv")
# The corpus's authors leave out responses that came more than 10 s after the clip.
_DISTRACTED_MS = 10_000
#: Clips of which the corpus's readme says that the file is not what its name says, but most likely what raters got.
MARKED_CLIPS = {
    "1076_MTI_NEU_XX": "the raters' file is very short and has no sound; the WAV file is fine",
    "1076_MTI_SAD_XX": "very short, no sound",
    "1064_TIE_SAD_XX": "the raters' file has no duration",
    "1064_IEO_DIS_MD": "a minute long, with all emotional displays of the sentence",
}


#: What a report says of a clip that has two rows of counts.
TABULATED_TWICE = "the clip is tabulated twice"


@dataclass
class _Clip:
    where: str
    votes: list[Vote] = field(default_factory=list)


class _Votes(dict[str, dict[str, _Clip]]):
    """Clip → modality → its votes."""

    late: Kept = "drop"  # whether late responses are among them


def _distracted(path: Path, report: CorpusReport) -> set[tuple[str, str, str]] | None:
    """Read which responses came late: session, query type and question. None where no file says so."""
    if not path.is_file():
        report.note("no_response_times", path.name, report.name(path), "there is no such file: late responses count")
        return None
    keys = ("sessionNums", "queryType", "questNum")
    late = set()
    for _, row in iter_csv(path, report, required=(*keys, "ttr")):
        try:
            if float(row["ttr"]) > _DISTRACTED_MS:
                late.add((row[keys[0]], row[keys[1]], row[keys[2]]))
        except ValueError:
            continue
    return late


def _responses(path: Path, report: CorpusReport, late_responses: Kept) -> _Votes:
    """Read one response a row: who answered what to which clip."""
    required = ("localid", "queryType", "questNum", "clipName", "sessionNums", "respEmo")
    late: set[tuple[str, str, str]] | None = None
    if late_responses == "drop":
        late = _distracted(path.with_name("finishedEmoResponses.csv"), report)
    found = _Votes()
    found.late = "keep" if late is None else "drop"
    late = late or set()
    seen: set[tuple[str, str, str]] = set()
    file = report.name(path)
    for line, row in iter_csv(path, report, required):
        where = f"{file}:{line}"
        clip = row["clipName"]
        label = _LETTERS.get(row["respEmo"])
        modality = _QUERY_TYPES.get(row["queryType"])
        if modality is None:
            report.note("bad_line", clip, where, f"queryType {row['queryType']!r}")
            continue
        if label is None:
            report.note("unknown_label", clip, where, row["respEmo"])
            continue
        if (row["sessionNums"], row["queryType"], row["questNum"]) in late:
            report.note("distracted_rater", clip, where, row["localid"])
            continue
        key = (row["sessionNums"], row["queryType"], clip)
        if key in seen:
            report.note("duplicate_rater", clip, where, row["localid"])
            continue
        seen.add(key)
        entry = found.setdefault(clip, {}).setdefault(modality, _Clip(where))
        entry.votes.append((label, 1.0, row["localid"]))
    return found


def _count(text: str) -> int:
    number = int(text or 0)
    if not 0 <= number <= 1000:
        raise ValueError
    return number


def _tabulated(path: Path, report: CorpusReport) -> _Votes:
    """Read counts: ``tabulatedVotes.csv``, whose row names begin with the query type, or a table with a modality."""
    found = _Votes()
    file = report.name(path)
    for line, row in iter_csv(path, report):
        where = f"{file}:{line}"
        clip = row.get("clip") or row.get("fileName") or ""
        # Row 100001 of the authors' table is clip 1 heard only: a hundred thousand times the query type.
        modality = row.get("modality") or _QUERY_TYPES.get(row.get("", "")[:1], "")
        if not clip or modality not in MODALITIES:
            report.note("bad_line", clip or path.name, where, "no clip, or no modality")
            continue
        try:
            counts = {_emotion(column): _count(cell) for column, cell in row.items() if _emotion(column)}
        except ValueError:
            report.note("bad_line", clip, where, "a cell is not a count of votes")
            continue
        entry = found.setdefault(clip, {}).setdefault(modality, _Clip(where))
        if entry.votes:
            report.note("duplicate_rater", clip, where, TABULATED_TWICE)
            continue
        entry.votes = [(name, 1.0, None) for name, count in counts.items() for _ in range(count)]
    return found


def _emotion(column: str) -> str:
    if column in _LETTERS:
        return _LETTERS[column]
    name = canonical_emotion(column) if column and is_known_emotion(column) else ""
    return name if name in _EMOTIONS else ""


def _columns(table: Path) -> set[str]:
    refuse_special(table)
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return {cell.strip() for cell in next(csv.reader(file), [])}


def holds_responses(table: Path) -> bool:
    """Whether a file holds one response a row, as ``finishedResponses.csv`` does."""
    return table.is_file() and {"respEmo", "clipName", "queryType"} <= _columns(table)


def holds_authors_counts(table: Path) -> bool:
    """Whether a file is the authors' table of counts, ``tabulatedVotes.csv``."""
    return table.is_file() and {"", "fileName", *_LETTERS} <= _columns(table)


def _read_votes(source: str | Path, report: CorpusReport, late_responses: Kept | None = None) -> _Votes:
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is nothing at {path}. Mend: check the path.")
    table = path if path.is_file() else next((path / name for name in _FILES if (path / name).is_file()), None)
    if table is None:
        raise CorpusError(
            f"{path} holds none of {', '.join(_FILES)}. "
            "Mend: give the folder of the CREMA-D repository, or the file itself."
        )
    report_on(table.parent if path.is_file() else path, report)
    columns = _columns(table)
    if "respEmo" in columns:
        return _responses(table, report, late_responses or "drop")
    if late_responses == "keep":
        raise CorpusError(
            f"late_responses='keep', and {table.name} holds counts, from which the authors left the late responses "
            "out. Mend: give the folder with finishedResponses.csv, or leave late_responses out."
        )
    if {"clip", "fileName"} & columns and len({_emotion(column) for column in columns} - {""}) == len(_EMOTIONS):
        return _tabulated(table, report)
    raise CorpusError(
        f"{table.name} has the columns {', '.join(sorted(columns))}: votes are in respEmo, or in one count column an "
        "emotion beside clip or fileName. Mend: give finishedResponses.csv, tabulatedVotes.csv or a table of counts."
    )


@dataclass(frozen=True)
class VotesOnly:
    """CREMA-D's votes without its audio, for studies of votes alone: N clips in the order of their names, K labels."""

    ids: list[str]
    speakers: list[str]
    sentences: list[str]  # three-letter codes
    intended: list[str]  # what the actors were asked for
    levels: list[str]  # the intensity asked for: LO, MD, HI or XX (not stated)
    emotions: tuple[str, ...]
    counts: Mapping[str, FloatArray]  # modality to (N, K), in votes; zeros where a clip has none of that modality
    late_responses: Kept = "drop"  # whether late responses are among them

    def of(self, modality: str = "voice") -> tuple[list[str], list[str], FloatArray]:
        """Ids, speakers and counts of the clips that have votes of one modality."""
        used = np.flatnonzero(self.counts[modality].sum(axis=1) > 0)
        return [self.ids[i] for i in used], [self.speakers[i] for i in used], self.counts[modality][used]


def votes_only(
    source: str | Path,
    report: CorpusReport | None = None,
    *,
    late_responses: Kept | None = None,
    marked_clips: Kept = "drop",
) -> VotesOnly:
    """Read CREMA-D's votes alone: from the corpus's folder, one of its vote files, or a table of counts.

    Such a table has the columns ``clip``, ``modality`` and one of counts an emotion; `report` receives the lines that
    were passed over. `late_responses` and `marked_clips` are as for :func:`read_cremad`.

    Example:
        >>> import tempfile, pathlib
        >>> table = pathlib.Path(tempfile.mkdtemp()) / "votes.csv"
        >>> _ = table.write_text("clip,modality,A,D,F,H,N,S\\n1001_IEO_HAP_LO,voice,0,0,0,3,6,0\\n")
        >>> votes = votes_only(table)
        >>> votes.ids, votes.speakers, votes.counts["voice"].tolist()
        (['1001_IEO_HAP_LO'], ['1001'], [[0.0, 3.0, 6.0, 0.0, 0.0, 0.0]])
    """
    report = report if report is not None else CorpusReport()
    found = _read_votes(source, report, late_responses)
    clips = {
        clip: match
        for clip in sorted(found)
        if (match := _named(clip, found[clip], report))
        and not _left_out(clip, next(iter(found[clip].values())).where, marked_clips, report)
    }
    if not clips:
        raise CorpusError(f"{source} holds no votes on CREMA-D's clips.\n{report.summary(3)}\nMend: see above.")
    counts = {modality: np.zeros((len(clips), len(_EMOTIONS))) for modality in MODALITIES}
    for row, clip in enumerate(clips):
        for modality, entry in found[clip].items():
            for label, weight, _ in entry.votes:
                counts[modality][row, _EMOTIONS.index(label)] += weight
    codes = CORPUS_CODES["cremad"]
    return VotesOnly(
        ids=list(clips),
        speakers=[match[1] for match in clips.values()],
        sentences=[match[2] for match in clips.values()],
        intended=[codes[match[3]] for match in clips.values()],
        levels=[_level(match[4]) for match in clips.values()],
        emotions=_EMOTIONS,
        counts=counts,
        late_responses=found.late,
    )


def _named(clip: str, entries: Mapping[str, _Clip], report: CorpusReport) -> re.Match[str] | None:
    match = _CLIP.fullmatch(clip)
    if match is None or match[3] not in CORPUS_CODES["cremad"]:
        report.skip("bad_name", clip, next(iter(entries.values())).where)
        return None
    return match


def _left_out(clip: str, where: str, marked_clips: Kept, report: CorpusReport) -> bool:
    """Whether a clip is left out because its raters got another recording; it is reported in any case."""
    if clip not in MARKED_CLIPS:
        return False
    (report.skip if marked_clips == "drop" else report.note)("wrong_recording", clip, where, MARKED_CLIPS[clip])
    return marked_clips == "drop"


def _level(code: str) -> str:
    return "XX" if code == "X" else code  # one file of the corpus is named so


def _utterances(
    found: _Votes,
    clips: Mapping[str, str],
    modality: str,
    marked_clips: Kept,
    rules: Protocol | None,
    report: CorpusReport,
) -> Iterator[Utterance]:
    for clip in sorted(found):
        match = _named(clip, found[clip], report)
        entry = found[clip].get(modality)
        if match is None:
            continue
        where = next(iter(found[clip].values())).where if entry is None else entry.where
        if entry is None:
            report.skip("no_votes", clip, where, f"nobody voted on {modality}")
        elif clip not in clips:
            report.skip("no_audio", clip, where)
        elif not _left_out(clip, where, marked_clips, report):
            yield Utterance(
                id=clip,
                audio=clips[clip],
                where=where,
                speaker=match[1],
                votes=entry.votes,
                transcript=_TEXTS.get(match[2]),
                session=None if rules is None else rules.fold(match[1]),
                intended=CORPUS_CODES["cremad"][match[3]],
                extra={
                    **{"level": _level(match[4]), "sentence": match[2], "modality": modality},
                    **{"late_responses": found.late, "marked_clips": marked_clips},
                },
            )
    for clip, path in clips.items():
        if clip not in found:
            report.skip("no_labels", clip, report.name(path))


def _audio(source: Path, given: str | Path | None) -> dict[str, str]:
    folders: list[Path | None] = []
    if given:
        folders = [Path(given).expanduser()]
    elif source.is_dir():
        folders = [find_folder(source, "AudioWAV"), find_folder(source, "AudioMP3")]
    for folder in folders:
        clips = audio_files(folder, (".wav", ".mp3", ".flac")) if folder else {}
        if clips:
            return clips
    raise CorpusError(
        f"There is no audio of CREMA-D in {given or source}. "
        "Mend: name its folder with audio_dir, or read the votes alone with votes_only."
    )


@corpus_reader(INFO)
def read_cremad(
    source: str | Path,
    *,
    audio_dir: str | Path | None = None,
    modality: Modality = "voice",
    protocol: Literal["emo_superb"] | None = None,
    late_responses: Kept | None = None,
    marked_clips: Kept | None = None,
    report: CorpusReport | None = None,
    **options: Unpack[ReadOptions],
) -> DatasetDict:
    """Read CREMA-D.

    The raters' votes come from ``finishedResponses.csv`` with their names, without responses later than 10 s where
    ``finishedEmoResponses.csv`` is beside it (as the authors count); else from ``tabulatedVotes.csv``. The actor's task
    is in ``intended`` and is no vote.

    Of four clips the corpus's readme says that the raters most likely got another recording than the file's name says:
    they are left out, and named in the report.

    Args:
        source: The folder of the corpus's repository, or a file of votes.
        audio_dir: The folder of the clips. Default: ``AudioWAV``, else ``AudioMP3``, in `source`.
        modality: Whose votes: of those who heard the ``"voice"`` alone, saw the ``"face"`` alone, or both
            (``"audiovisual"``). Only the first judged what a model of speech gets.
        protocol: ``"emo_superb"`` reads as EMO-SUPERB (arXiv 2402.13018) does: voice votes with late responses, all
            clips, and its five folds of actors, 1 to 5, in a column ``fold`` (with `test_fold` three splits).
        late_responses: Whether responses later than 10 s after the clip count; the authors' own table leaves them out,
            and counts are as they are. Default: ``"drop"``, with ``"emo_superb"`` ``"keep"``.
        marked_clips: Whether clips are read whose raters got another recording. Default: ``"drop"``, with
            ``"emo_superb"`` ``"keep"``.
        report: Receives what is left out, by reason, file and line.

    Returns:
        The splits.

    Raises:
        CorpusError: There are no votes or no audio.
        ValueError: An option does not fit, such as another modality or split than the protocol's.

    Example:
        >>> read_cremad("CREMA-D", modality="voice", split="folds")  # doctest: +SKIP
    """
    check_choice("modality", modality, MODALITIES)
    for name, value in (("late_responses", late_responses), ("marked_clips", marked_clips)):
        if value is not None:
            check_choice(name, value, get_args(Kept))
    rules = None if protocol is None else protocol_of(protocol)
    if rules is not None:
        options = _by_protocol(rules, modality, options)
    settings = check_options(INFO, source, options)
    report = report if report is not None else CorpusReport()
    late, marked = late_responses, marked_clips or (rules.marked_clips if rules else "drop")
    if rules is not None and late is None and _has_responses(source):
        late = rules.late_responses
    found = _read_votes(source, report, late)
    if rules is not None and late is None:
        report.note("no_response_times", "counts", "", f"late responses are left out, which {rules.name} keeps")
    clips = _audio(Path(source).expanduser(), audio_dir)
    # for the data set's card
    told = "are among them" if found.late == "keep" else "are left out"
    vote_source = f"{INFO.vote_source} Responses later than 10 s {told}."
    settings = replace(settings, info=replace(INFO, vote_source=vote_source))
    return build_corpus(_utterances(found, clips, modality, marked, rules, report), settings, report)


def _by_protocol(rules: Protocol, modality: str, options: ReadOptions) -> ReadOptions:
    """The options with the protocol's folds, which stand in the place of sessions."""
    if rules.corpus != INFO.name:
        raise ValueError(f"{rules.name} is a protocol of {rules.corpus}. Mend: leave the protocol out.")
    if modality != rules.rows.get("modality", modality):
        raise ValueError(
            f"{rules.name} has votes on the {rules.rows['modality']}, not on {modality}. Mend: leave the modality out, "
            "or the protocol."
        )
    if options.get("split") not in (None, INFO.split, "session"):
        raise ValueError(
            f"split={options['split']!r}, and {rules.name} has folds of its own. Mend: leave the split out; test_fold "
            "makes three splits of the folds."
        )
    return {**options, "split": "session"}


def _has_responses(source: str | Path) -> bool:
    path = Path(source).expanduser()
    return holds_responses(path / _FILES[0] if path.is_dir() else path)
