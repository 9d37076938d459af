"""THAI-SER: acted Thai speech, each clip judged by three to eleven crowd annotators who may name several emotions.

The release has ``emotion_label.json``, ``{"s001_con_actor001_impro1_1.flac": [{"assigned_emo": "Neutral",
"majority_emo": "Neutral", "annotated": [["Neutral"], ["Neutral", "Sad"]], "agreement": 0.75}]}``;
``actor_demography.json``, ``{"data": [{"Actor's ID": "001", "Sex": "Male", "Age": 30}]}``; and the clips in
``studio1-10/studio001/con`` or elsewhere below. A clip is recorded by several microphones, which its name tells.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, get_args

from .._files import refuse_special
from ..distributions import check_choice
from .building import build_corpus
from .label_files import Labels, audio_below, corpus_folder, find_file, number, stem_of
from .options import ReadOptions, check_options, corpus_reader
from .utterances import CorpusError, CorpusInfo, CorpusReport, Utterance, Vote, report_on

if TYPE_CHECKING:
    from datasets import DatasetDict

#: Of the studio recordings: the condenser microphone, the one clipped to the actor, the one between the two.
Microphone = Literal["con", "clip", "middle"]

_EMOTIONS = ("neutral", "angry", "happy", "sad", "frustrated", "other")
INFO = CorpusInfo(
    name="thai_ser",
    title="THAI-SER",
    language="th",
    emotions=_EMOTIONS,
    license="cc-by-sa-4.0",
    terms="CC BY-SA 4.0.",
    citation="Wongpithayadisai, J., Chaksangchaichot, C., Sangnark, S., Prakrankamanant, P., Gangwanpongpun, K., "
    "Boonpunmongkol, S., Milindasuta, P., Na-Pombejra, D., Nutanong, S., & Chuangsuwanich, E. (2025). THAI speech "
    "emotion recognition (THAI-SER) corpus. arXiv:2507.09618",
    vote_source="THAI-SER's crowd annotators, who are not named; one who names m emotions gives each 1/m of a vote.",
    reads="`emotion_label.json`, `actor_demography.json`, FLAC or WAV below, of one `--microphone`",
    columns={
        "intended": "string",
        "consensus": "string",
        "gender": "string",
        "age": "int64",
        "style": "string",
        "microphone": "string",
    },
    weighted=True,
    raters=False,
)

_NAME = re.compile(r"([sz])(\d{3})_([a-z]+)_actor(\d{3})_(script|impro)\w*", re.IGNORECASE)
_NO_ANSWER = ("none", "")


def _json(path: Path) -> Mapping[str, Any]:
    refuse_special(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise CorpusError(f"{path.name} is not JSON ({error}). Mend: copy it again.") from error
    if not isinstance(content, dict):
        raise CorpusError(f"{path.name} is not an object. Mend: check that it is THAI-SER's.")
    return content


def _actors(path: Path | None) -> dict[str, tuple[str | None, int | None]]:
    """Sex and age by the actor's three digits; empty without the file."""
    listed = _json(path).get("data", []) if path else []
    found: dict[str, tuple[str | None, int | None]] = {}
    for actor in listed if isinstance(listed, list) else []:
        age = number(actor.get("Age"))
        sex = str(actor.get("Sex") or "").strip().lower() or None
        found[str(actor.get("Actor's ID", "")).zfill(3)] = (sex, None if age is None else int(age))
    return found


def _votes(annotated: Any, labels: Labels, name: str, where: str, report: CorpusReport) -> list[Vote]:
    votes: list[Vote] = []
    for position, tags in enumerate(annotated if isinstance(annotated, list) else [annotated], start=1):
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            report.note("bad_line", name, where, f"annotator {position}: {tags!r}"[:80])
            continue
        named = dict.fromkeys(tag.strip() for tag in tags if tag.strip().lower() not in _NO_ANSWER)
        if not named:
            report.note("no_answer", name, where, f"annotator {position}")
        for tag in named:
            label = labels(tag)
            if label is None:
                report.note("unknown_label", name, where, tag)
            else:
                votes.append((label, 1.0 / len(named), None))
    return votes


def _fold(place: str, recording: int) -> int:
    """The authors' ten folds: ten recordings each, first the studios', then those over Zoom."""
    return (recording - 1) // 10 + (1 if place == "s" else 9)


def _utterances(root: Path, table: Path, microphone: str, report: CorpusReport) -> Iterator[Utterance]:
    clips, again = audio_below(root, (".flac", ".wav"))
    actors = _actors(find_file(root, "actor_demography.json"))
    labels = Labels(_EMOTIONS)
    where = report.name(table)
    described: set[str] = set()
    for name, entries in _json(table).items():
        stem = stem_of(os.path.basename(name))
        match = _NAME.fullmatch(stem)
        entry = entries[0] if isinstance(entries, list) and entries else entries
        if match is None or not isinstance(entry, dict):
            report.skip("bad_name" if match is None else "no_labels", stem, where)
            continue
        if match[1].lower() == "s":  # the labels name one microphone; what was heard is one performance
            stem = stem.replace(f"_{match[3]}_", f"_{microphone}_", 1)
        described.add(stem)
        if stem not in clips:
            report.skip("no_audio", stem, where)
            continue
        sex, age = actors.get(match[4], (None, None))
        yield Utterance(
            id=stem,
            audio=clips[stem],
            where=where,
            speaker=f"actor{match[4]}",
            session=_fold(match[1].lower(), int(match[2])),
            votes=_votes(entry.get("annotated"), labels, stem, where, report),
            intended=labels(str(entry.get("assigned_emo"))),
            consensus=labels(str(entry.get("majority_emo"))),
            extra={
                "gender": sex,
                "age": age,
                "style": {"script": "scripted", "impro": "improvised"}[match[5].lower()],
                "microphone": microphone if match[1].lower() == "s" else match[3],
            },
        )
    for stem, path in again:
        report.skip("duplicate_id", stem, report.name(path), "another file of this name is read")
    for stem, path in clips.items():
        match = _NAME.fullmatch(stem)
        if stem not in described and (match is None or match[1].lower() == "z" or match[3] == microphone):
            report.skip("bad_name" if match is None else "no_labels", stem, report.name(path))


@corpus_reader(INFO)
def read_thai_ser(
    source: str | Path,
    *,
    microphone: Microphone = "con",
    report: CorpusReport | None = None,
    **options: Unpack[ReadOptions],
) -> DatasetDict:
    """Read THAI-SER.

    An annotator who named m emotions gives each 1/m of a vote, as the authors count; one who named none gives no vote
    and is reported. The actor's task is in ``intended``. ``split="session"`` numbers the authors' ten folds of ten
    recordings each.

    Args:
        source: The folder of ``emotion_label.json``, with the clips below.
        microphone: Which recording of a studio clip to take: ``"con"``, ``"clip"`` or ``"middle"``. What was recorded
            over Zoom has one.
        report: Receives what is left out, by reason, file and line.

    Returns:
        The splits.

    Raises:
        CorpusError: The folder is not THAI-SER, or nothing in it can be used.

    Example:
        >>> read_thai_ser("thai-ser", microphone="clip", split="speaker")  # doctest: +SKIP
    """
    check_choice("microphone", microphone, get_args(Microphone))
    settings = check_options(INFO, source, options)
    root = corpus_folder(source)
    table = find_file(root, "emotion_label.json")
    if table is None:
        raise CorpusError(f"There is no emotion_label.json in {root}. Mend: give the folder that holds it.")
    report = report_on(root, report)
    return build_corpus(_utterances(root, table, microphone, report), settings, report)
