"""RAVDESS: acted English speech with intended emotions and no published votes.

It has no ``human_votes`` and no distributions, and is refused as a target (see
:func:`hf_emo_dist.data.label_map.refuse_without_votes`). Its ``intended`` column serves cross-corpus scores of the
dominant class, and it can be annotated.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from ..emotions import CORPUS_CODES
from .building import build_corpus
from .label_files import corpus_folder, utterances_by_name
from .options import ReadOptions, check_options, corpus_reader
from .utterances import NOBODY_VOTED, CorpusInfo, CorpusReport, Utterance, report_on

if TYPE_CHECKING:
    from datasets import DatasetDict

INFO = CorpusInfo(
    name="ravdess",
    title="RAVDESS",
    language="en",
    emotions=("angry", "happy", "neutral", "sad", "fear", "disgust", "surprise", "calm"),
    license="cc-by-nc-sa-4.0",
    terms="CC BY-NC-SA 4.0.",
    citation="Livingstone, S. R., & Russo, F. A. (2018). The Ryerson Audio-Visual Database of Emotional Speech and "
    "Song (RAVDESS). PLoS ONE, 13(5), e0196391. doi:10.1371/journal.pone.0196391",
    vote_source=NOBODY_VOTED,
    has_votes=False,
    columns={"intended": "string", "intensity": "string", "gender": "string", "channel": "string"},
)

_NAME = re.compile(r"(0[13])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d{2})")
_TEXTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}


def _utterance(stem: str, path: str, songs: bool) -> Utterance | None:
    match = _NAME.fullmatch(stem)
    if match is None or (match[2] == "02" and not songs):
        return None
    actor = match[7]
    return Utterance(
        id=stem,
        audio=path,
        speaker=actor,
        transcript=_TEXTS[match[5]],
        intended=CORPUS_CODES["ravdess"][match[3]],
        extra={
            "intensity": {"01": "normal", "02": "strong"}[match[4]],
            "gender": "male" if int(actor) % 2 else "female",
            "channel": {"01": "speech", "02": "song"}[match[2]],
        },
    )


@corpus_reader(INFO)
def read_ravdess(
    source: str | Path, *, songs: bool = False, report: CorpusReport | None = None, **options: Unpack[ReadOptions]
) -> DatasetDict:
    """Read the audio of RAVDESS; everything is in the file names, such as ``03-01-06-01-02-01-12.wav``.

    With ``split="own"`` all rows are in one split ``test``.

    Args:
        source: The folder of the clips, or any folder above.
        songs: Read the sung clips too; otherwise they are reported as ``bad_name``.
        report: Receives what is left out.

    Returns:
        The splits, with ``intended`` and without votes and distributions.

    Raises:
        CorpusError: There is no clip that can be used.

    Example:
        >>> read_ravdess("ravdess", merge={"calm": "neutral"})["test"]  # doctest: +SKIP
    """
    settings = check_options(INFO, source, options)
    root = corpus_folder(source)
    report = report_on(root, report)
    found = utterances_by_name(INFO, root, lambda stem, path: _utterance(stem, path, songs), report)
    return build_corpus(found, settings, report)
