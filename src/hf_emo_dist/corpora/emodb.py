"""EMO-DB: acted German speech with intended emotions and no published votes, like RAVDESS."""

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
    name="emodb",
    title="EMO-DB",
    language="de",
    emotions=("angry", "happy", "neutral", "sad", "fear", "disgust", "bored"),
    license="other",
    terms="Offered free of charge by its authors; see the archive for its terms.",
    citation="Burkhardt, F., Paeschke, A., Rolfes, M., Sendlmeier, W., & Weiss, B. (2005). A database of German "
    "emotional speech. Interspeech 2005, 1517-1520. doi:10.21437/Interspeech.2005-446",
    vote_source=NOBODY_VOTED,
    reads="file names",
    has_votes=False,
    columns={"intended": "string", "gender": "string"},
)

_NAME = re.compile(r"(\d{2})([ab]\d{2})([WLEAFTN])([a-z]?)")
_TEXTS = {
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
_WOMEN = ("08", "09", "13", "14", "16")


def _utterance(stem: str, path: str) -> Utterance | None:
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    return Utterance(
        id=stem,
        audio=path,
        speaker=match[1],
        transcript=_TEXTS.get(match[2]),
        intended=CORPUS_CODES["emodb"][match[3]],
        extra={"gender": "female" if match[1] in _WOMEN else "male"},
    )


@corpus_reader(INFO)
def read_emodb(
    source: str | Path, *, report: CorpusReport | None = None, **options: Unpack[ReadOptions]
) -> DatasetDict:
    """Read EMO-DB; everything is in the file names, such as ``03a01Fa.wav`` (speaker, text, emotion, version).

    With ``split="own"`` all rows are in one split ``test``.

    Args:
        source: The folder ``wav``, or any folder above.
        report: Receives what is left out.

    Returns:
        The splits, with ``intended`` and without votes and distributions.

    Raises:
        CorpusError: There is no clip that can be used.

    Example:
        >>> read_emodb("emodb/wav")["test"]  # doctest: +SKIP
    """
    settings = check_options(INFO, source, options)
    root = corpus_folder(source)
    report = report_on(root, report)
    return build_corpus(utterances_by_name(INFO, root, _utterance, report), settings, report)
