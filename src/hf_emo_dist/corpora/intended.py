"""RAVDESS and EMO-DB: acted corpora with intended emotions and no published votes.

They have no ``human_votes`` and no distributions, and are refused as targets (see
:func:`hf_emo_dist.data.label_map.refuse_without_votes`). Their ``intended`` column serves cross-corpus scores of the
dominant class, and they can be annotated.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..emotions import CORPUS_CODES
from .building import build_corpus, corpus_folder
from .label_files import audio_files
from .options import ReadOptions, corpus_settings
from .utterances import CorpusError, CorpusInfo, CorpusReport, Utterance

if TYPE_CHECKING:
    from typing import Unpack

    from datasets import DatasetDict

__all__ = ["EMODB", "RAVDESS", "read_emodb", "read_ravdess"]

_NOBODY = "Nobody's: the corpus publishes no listener votes. `intended` is what the actors were asked for, not what anybody heard."

RAVDESS = CorpusInfo(
    name="ravdess",
    title="RAVDESS",
    language="en",
    emotions=("angry", "happy", "neutral", "sad", "fear", "disgust", "surprise", "calm"),
    license="cc-by-nc-sa-4.0",
    terms="CC BY-NC-SA 4.0.",
    citation="Livingstone, S. R., & Russo, F. A. (2018). The Ryerson Audio-Visual Database of Emotional Speech and Song "
    "(RAVDESS). PLoS ONE, 13(5), e0196391. doi:10.1371/journal.pone.0196391",
    vote_source=_NOBODY,
    has_votes=False,
    columns={"intended": "string", "intensity": "string", "gender": "string", "channel": "string"},
)
EMODB = CorpusInfo(
    name="emodb",
    title="EMO-DB",
    language="de",
    emotions=("angry", "happy", "neutral", "sad", "fear", "disgust", "bored"),
    license="other",
    terms="Offered free of charge by its authors; see the archive for its terms.",
    citation="Burkhardt, F., Paeschke, A., Rolfes, M., Sendlmeier, W., & Weiss, B. (2005). A database of German emotional "
    "speech. Interspeech 2005, 1517-1520. doi:10.21437/Interspeech.2005-446",
    vote_source=_NOBODY,
    has_votes=False,
    columns={"intended": "string", "gender": "string"},
)

_RAVDESS_NAME = re.compile(r"(0[13])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d{2})")
_RAVDESS_TEXTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
_EMODB_NAME = re.compile(r"(\d{2})([ab]\d{2})([WLEAFTN])([a-z]?)")
_EMODB_TEXTS = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
_EMODB_WOMEN = ("08", "09", "13", "14", "16")


def _ravdess(stem: str, path: str, songs: bool) -> Utterance | None:
    match = _RAVDESS_NAME.fullmatch(stem)
    if match is None or (match[2] == "02" and not songs):
        return None
    actor = match[7]
    return Utterance(
        id=stem,
        audio=path,
        where="",
        speaker=actor,
        transcript=_RAVDESS_TEXTS[match[5]],
        intended=CORPUS_CODES["ravdess"][match[3]],
        extra={
            "intensity": {"01": "normal", "02": "strong"}[match[4]],
            "gender": "male" if int(actor) % 2 else "female",
            "channel": {"01": "speech", "02": "song"}[match[2]],
        },
    )


def _emodb(stem: str, path: str) -> Utterance | None:
    match = _EMODB_NAME.fullmatch(stem)
    if match is None:
        return None
    return Utterance(
        id=stem,
        audio=path,
        where="",
        speaker=match[1],
        transcript=_EMODB_TEXTS.get(match[2]),
        intended=CORPUS_CODES["emodb"][match[3]],
        extra={"gender": "female" if match[1] in _EMODB_WOMEN else "male"},
    )


def _by_name(
    root: Path, parse: Callable[[str, str], Utterance | None], info: CorpusInfo, report: CorpusReport
) -> Iterator[Utterance]:
    found = False
    for folder in (root, *sorted(path for path in root.rglob("*") if path.is_dir())):
        for stem, path in audio_files(folder, (".wav", ".flac")).items():
            found = True
            utterance = parse(stem, path)
            if utterance is None:
                report.skip("bad_name", stem, report.name(path))
            else:
                utterance.where = report.name(path)
                yield utterance
    if not found:
        raise CorpusError(f"There are no audio files of {info.title} below {root}. Mend: check the path.")


def _read(
    info: CorpusInfo,
    source: str | Path,
    parse: Callable[[str, str], Utterance | None],
    report: CorpusReport | None,
    options: ReadOptions,
) -> DatasetDict:
    settings = corpus_settings(info, source, options)
    root = corpus_folder(source)
    report = report if report is not None else CorpusReport()
    report.root = root
    return build_corpus(info, _by_name(root, parse, info, report), settings, report)


def read_ravdess(
    source: str | Path, *, songs: bool = False, report: CorpusReport | None = None, **options: Unpack[ReadOptions]
) -> DatasetDict:
    """Read the audio of RAVDESS; everything is in the file names, such as ``03-01-06-01-02-01-12.wav``.

    Args:
        source: The folder of the clips, or any folder above.
        songs: Read the sung clips too; otherwise they are reported as ``bad_name``.
        report: Receives what is left out.
        **options: See :class:`hf_emo_dist.corpora.options.ReadOptions`. By default all rows are in one split ``test``.

    Returns:
        The splits, with ``intended`` and without votes and distributions.

    Raises:
        CorpusError: There is no clip that can be used.

    Example:
        >>> read_ravdess("ravdess", merge={"calm": "neutral"})["test"]  # doctest: +SKIP
    """
    return _read(RAVDESS, source, lambda stem, path: _ravdess(stem, path, songs), report, options)


def read_emodb(
    source: str | Path, *, report: CorpusReport | None = None, **options: Unpack[ReadOptions]
) -> DatasetDict:
    """Read EMO-DB; everything is in the file names, such as ``03a01Fa.wav`` (speaker, text, emotion, version).

    Args:
        source: The folder ``wav``, or any folder above.
        report: Receives what is left out.
        **options: See :class:`hf_emo_dist.corpora.options.ReadOptions`. By default all rows are in one split ``test``.

    Returns:
        The splits, with ``intended`` and without votes and distributions.

    Raises:
        CorpusError: There is no clip that can be used.

    Example:
        >>> read_emodb("emodb/wav")["test"]  # doctest: +SKIP
    """
    return _read(EMODB, source, _emodb, report, options)


def add_ravdess_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only RAVDESS has."""
    parser.add_argument("--songs", action="store_true", help="read the sung clips too")
