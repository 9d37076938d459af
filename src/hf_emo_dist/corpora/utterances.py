"""What every corpus reader hands on: what is known of a corpus, its utterances, and what was found wrong on the way."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from ..data.output import write_text

#: How rows are split, see :class:`hf_emo_dist.corpora.options.ReadOptions`.
SplitBy = Literal["own", "speaker", "session", "folds", "paper_random"]

#: What `vote_source` says of a corpus without votes.
NOBODY_VOTED = (
    "Nobody's: the corpus publishes no listener votes. "
    "`intended` is what the actors were asked for, not what anybody heard."
)

#: One vote: label (canonical), weight (1/m for one of a rater's m tags), rater (None where the corpus does not say).
Vote = tuple[str, float, str | None]

#: Why something was left out or is worth knowing, and what to do about it.
REASONS: Mapping[str, str] = MappingProxyType(
    {
        # the utterance is left out
        "no_audio": "labels without an audio file: complete the corpus, or leave it so",
        "empty_audio": "the audio file has no bytes: copy it again",
        "not_audio": "the file is no audio, or of a format that is not decoded: the line says what it is",
        "unreadable_audio": "the audio file cannot be read: check its permissions and the disk",
        "no_labels": "an audio file without labels: complete the label files, or leave it so",
        "labels_withheld": "the corpus keeps the labels of this partition to itself",
        "no_votes": "nobody voted, or no vote is left for any of the emotions",
        "vote_outside": "a vote is outside the emotions, and outside='drop_utterance' leaves such utterances out",
        "intended_outside": "the intended emotion is not among the emotions",
        "duplicate_id": "the utterance is described a second time: the first description counts",
        "bad_header": "the line that begins an utterance cannot be read: correct it",
        "bad_name": "the file name does not follow the corpus's scheme",
        "unknown_speaker": "the speaker is not known, so no speaker-disjoint part can hold the utterance",
        "other_modality": "ratings of a recording that is not this sound (seen, or sung): they are not votes on it",
        "same_sound": "the sound of a take that is read from another file already",
        "control_task": "a control clip with a known answer that was used to check raters",
        "wrong_recording": "the corpus's readme says that the raters got another recording than the file's name says",
        # the utterance is kept
        "few_raters": "fewer raters than the corpus asks for: a rater line may be missing",
        "bad_line": "a line cannot be read and is passed over",
        "unknown_label": "a label that the corpus does not have: the vote is passed over",
        "duplicate_rater": "the rater is named twice for one utterance: the first vote counts",
        "not_submitted": "a rating that was skipped, discarded or never sent off: it is no vote",
        "not_approved": "a rating of somebody whose submission was not approved: it is no vote",
        "part_of_clip": "a rating of a part of the recording, which says nothing of the whole",
        "no_answer": "the rater named no emotion: there is no vote to count",
        "distracted_rater": "a response over 10 s after the clip, which the corpus's authors leave out",
        "no_response_times": "when the responses came is not known, so late ones cannot be told apart",
        "brackets_in_comment": "a comment holds brackets: check that its tags were read as they were meant",
        "empty_transcript": "the transcript is empty",
        "no_transcript": "there is no transcript",
        "windows_path": "a path with backslashes: only the file's name is used",
        "path_spelling": "found under another spelling of its path (backslashes, %20, file://, Unicode form)",
        "crlf": "the file has Windows line ends",
        "bom": "the file begins with a byte order mark",
        "encoding": "the line is not UTF-8 and was read as Windows-1252",
    }
)


class CorpusError(ValueError):
    """A corpus that cannot be read at all."""


@dataclass(frozen=True)
class CorpusInfo:
    """What is known of a corpus before its files are read."""

    name: str  # value of the column `corpus`, and what speakers' names begin with
    title: str
    language: str  # BCP 47 code, value of the column `language`
    emotions: tuple[str, ...]  # canonical names, in the order in which they are written by default
    license: str  # identifier for the card; "other" for terms of the corpus's own
    terms: str  # the license in a sentence
    citation: str
    vote_source: str  # who voted on what; or NOBODY_VOTED
    reads: str = ""  # which files are read, in Markdown, for the table of corpora
    # Whether the terms forbid handing the recordings on. Sending them to a remote model then needs allow_upload=True,
    # and they are never pushed publicly.
    restricted: bool = False
    has_votes: bool = True  # else there are intended labels only
    # Further columns and their types: string, float32, int64 or strings (a list).
    columns: Mapping[str, str] = field(default_factory=dict)
    weighted: bool = False  # whether votes have weights
    raters: bool = True  # whether votes name their rater
    split: SplitBy = "own"  # what becomes of the rows by default


@dataclass(frozen=True, slots=True)
class StoredClip:
    """A clip that is no file of its own, such as one in a Parquet table: its name, and the function that reads it."""

    name: str
    read: Callable[[], bytes]


@dataclass(slots=True)
class Utterance:
    """One utterance as its corpus describes it.

    `audio` is the path of its clip, or a clip that is stored with others. `where` is the file and line of its labels.
    `transcript` may be a function that reads it, called when it is needed.
    """

    id: str
    audio: str | StoredClip
    where: str = ""
    speaker: str | None = None
    votes: Sequence[Vote] = ()
    transcript: str | Callable[[], str | None] | None = None
    split: str | None = None
    session: int | None = None
    intended: str | None = None
    consensus: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was left out (`skipped`), or kept in spite of something."""

    reason: str  # a key of REASONS
    item: str  # the utterance or the file
    where: str  # file, relative to the corpus, and line, such as labels.txt:12
    detail: str  # what was found
    skipped: bool


class CorpusReport:
    """What a reader left out and why, and what it kept but found odd.

    Args:
        root: The corpus's folder; files are named relative to it.

    Example:
        >>> report = CorpusReport("corpus")
        >>> report.skip("no_audio", "clip-1", "labels.csv:3")
        >>> report.counts()
        {'no_audio': 1}
        >>> print(report.summary())
        1 left out
        - no_audio (1): labels without an audio file: complete the corpus, or leave it so
            clip-1 (labels.csv:3)
    """

    def __init__(self, root: str | Path = ".") -> None:
        self.root = Path(root)
        self.info: CorpusInfo | None = None  # what was read: a reader's options may change what is known of a corpus
        self.problems: list[Problem] = []
        self.outside: Counter[str] = Counter()
        self.kept = 0
        self.not_drawn = 0  # left out by `limit`: no fault, so they are not listed

    def name(self, path: str | Path) -> str:
        """The path relative to the corpus, with forward slashes."""
        path = Path(path)
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name

    def skip(self, reason: str, item: str, where: str = "", detail: str = "") -> None:
        """Record that `item` is left out."""
        self.problems.append(Problem(reason, item, where, detail, skipped=True))

    def note(self, reason: str, item: str, where: str = "", detail: str = "") -> None:
        """Record something odd about `item`, which is kept."""
        self.problems.append(Problem(reason, item, where, detail, skipped=False))

    def counts(self, skipped: bool | None = None) -> dict[str, int]:
        """Reason to number of problems, in the order of :data:`REASONS`; of one kind where `skipped` is given."""
        found = Counter(p.reason for p in self.problems if skipped is None or p.skipped == skipped)
        return {reason: found[reason] for reason in REASONS if found[reason]}

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "kept": self.kept,
            "not_drawn": self.not_drawn,
            "skipped": self.counts(skipped=True),
            "notes": self.counts(skipped=False),
            "votes_outside": dict(self.outside.most_common()),
            "problems": [asdict(problem) for problem in self.problems],
        }

    def summary(self, max_items: int = 10) -> str:
        """By reason: how many, what it means, and the first `max_items` with file and line."""
        lines = []
        for skipped, heading in ((True, "left out"), (False, "kept, but look at them")):
            group = [problem for problem in self.problems if problem.skipped == skipped]
            if not group:
                continue
            lines.append(f"{len(group)} {heading}")
            for reason, count in self.counts(skipped).items():
                lines.append(f"- {reason} ({count}): {REASONS[reason]}")
                listed = [problem for problem in group if problem.reason == reason]
                for problem in listed[:max_items]:
                    where = f" ({problem.where})" if problem.where else ""
                    lines.append(f"    {problem.item}{where}" + (f": {problem.detail}" if problem.detail else ""))
                if count > max_items:
                    lines.append(f"    and {count - max_items} more")
        if self.not_drawn:
            lines.append(f"{self.not_drawn} not drawn, because of the limit")
        if self.outside:
            named = ", ".join(f"{label} {count}" for label, count in self.outside.most_common())
            lines.append(f"votes outside the emotions: {named}")
        return "\n".join(lines) or "nothing left out"

    def write(self, folder: str | Path) -> None:
        """Write ``reading_report.json`` (everything) and ``reading_report.txt`` (readable) into a folder."""
        everything = json.dumps(self.to_dict(), ensure_ascii=False, indent=1)
        write_text(Path(folder, "reading_report.json"), f"{everything}\n")
        text = f"{self.kept} utterances kept\n{self.summary(max_items=len(self.problems))}\n"
        write_text(Path(folder, "reading_report.txt"), text)


def report_on(root: Path, report: CorpusReport | None) -> CorpusReport:
    """The report that a reader was given, or a new one, which names files relative to `root`."""
    report = CorpusReport() if report is None else report
    report.root = root
    return report
