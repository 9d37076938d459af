"""MSP-IMPROV: crowd votes on acted dialogues, from the corpus's one file of ratings.

``Evalution.txt`` (so spelled in the release; ``Evaluation.txt`` is read, too) has blocks of lines: first
``UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:2.2; V:3.1; D:3.0 ; N:4.0;``, then a line a rater: ``RATER; Neutral;
Neutral,Sad; A:2.0; V:3.0; D:3.0; N:4.0;``. The sound of the clip is ``MSP-IMPROV-S01A-F01-P-FM01.wav``, in
``session1/S01A/P`` or elsewhere below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ..emotions import CORPUS_CODES
from .building import build_corpus
from .label_files import Labels, audio_below, corpus_folder, find_file, mean, stem_of
from .msp_labels import Rated, iter_blocks, votes_of
from .options import ReadOptions, check_options, corpus_reader
from .utterances import CorpusError, CorpusInfo, CorpusReport, Utterance, report_on

if TYPE_CHECKING:
    from datasets import DatasetDict

_EMOTIONS = ("angry", "happy", "neutral", "sad", "other")
INFO = CorpusInfo(
    name="msp_improv",
    title="MSP-IMPROV",
    language="en",
    emotions=_EMOTIONS,
    license="other",
    terms="Licensed by the MSP lab (University of Texas at Dallas) for research, by signed agreement; the recordings "
    "and labels may not be handed on.",
    citation="Busso, C., Parthasarathy, S., Burmania, A., AbdelWahab, M., Sadoughi, N., & Mower Provost, E. (2017). "
    "MSP-IMPROV: An acted corpus of dyadic interactions to study emotion perception. IEEE Transactions on Affective "
    "Computing, 8(1), 67-80. doi:10.1109/TAFFC.2016.2515617",
    vote_source="MSP-IMPROV's crowd raters (at least five a clip), who saw and heard the clips and chose one of five "
    "primary emotions.",
    reads="`Evalution.txt` (so spelled), wavs below",
    restricted=True,
    columns={
        "intended": "string",
        "consensus": "string",
        "gender": "string",
        "valence": "float32",
        "arousal": "float32",
        "dominance": "float32",
        "naturalness": "float32",
        "scenario": "string",
        "recording": "string",
    },
    split="session",
)

RATERS = 5
_NAME = re.compile(r"(?:UTD|MSP)-IMPROV-((S\d{2}([AHNS]))-([FM])(\d{2})-([PRST])-[A-Z]{2}\d{2,})")
# The release has 652 target sentences improvised, 620 read, 4,381 other turns and 2,785 of natural interaction.
_RECORDINGS = {"T": "target improvised", "R": "target read", "S": "other improvised", "P": "natural interaction"}
_CODES = CORPUS_CODES["msp_podcast"]


def _utterance(clip: Rated, path: str, match: re.Match[str], labels: Labels, report: CorpusReport) -> Utterance:
    name = f"MSP-IMPROV-{match[1]}"
    votes, counted = votes_of(name, clip, labels, report)
    if 0 < len(clip.ratings) < RATERS:
        report.note("few_raters", name, clip.where, f"{len(clip.ratings)} of {RATERS}")
    summary = clip.summary
    extra: dict[str, Any] = {
        "gender": {"F": "female", "M": "male"}[match[4]],
        "scenario": match[2],
        "recording": _RECORDINGS[match[6]],
        "naturalness": mean(rating.attributes.get("N") for rating in counted),
    }
    for column, stated in (
        ("arousal", summary.arousal),
        ("valence", summary.valence),
        ("dominance", summary.dominance),
    ):
        rated = mean(rating.attributes.get(column[0].upper()) for rating in counted)
        extra[column] = rated if stated is None else stated
    return Utterance(
        id=name,
        audio=path,
        where=clip.where,
        speaker=f"{match[4]}{match[5]}",
        session=int(match[5]),
        votes=votes,
        # Only the target sentences were to be said with the scenario's emotion.
        intended=_CODES[match[3]] if match[6] in "RT" else None,
        consensus=_CODES.get(summary.code),
        extra=extra,
    )


def _utterances(root: Path, report: CorpusReport) -> Iterator[Utterance]:
    table = find_file(root, "Evalution.txt", "Evaluation.txt")
    if table is None:
        raise CorpusError(f"There is no Evalution.txt in {root}. Mend: give the folder that holds it and the sessions.")
    clips, again = audio_below(root)
    labels = Labels(_EMOTIONS)
    described: set[str] = set()
    for clip in iter_blocks(table, report, suffix=".avi"):
        match = _NAME.fullmatch(stem_of(clip.name))
        if match is None:
            report.skip("bad_name", stem_of(clip.name), clip.where)
            continue
        stem = f"MSP-IMPROV-{match[1]}"
        described.add(stem)
        if stem in clips:
            yield _utterance(clip, clips[stem], match, labels, report)
        else:
            report.skip("no_audio", stem, clip.where)
    for stem, path in again:
        report.skip("duplicate_id", stem, report.name(path), "another file of this name is read")
    for stem, path in clips.items():
        if stem not in described:
            report.skip("no_labels", stem, report.name(path))


@corpus_reader(INFO)
def read_msp_improv(
    source: str | Path, *, report: CorpusReport | None = None, **options: Unpack[ReadOptions]
) -> DatasetDict:
    """Read MSP-IMPROV: the raters' primary emotions.

    The raters saw the speakers, so the votes are not on the voice alone. ``recording`` is ``target improvised``,
    ``target read``, ``other improvised`` or ``natural interaction``; ``intended`` is the scenario's emotion, for the
    target sentences only. ``arousal``, ``valence``, ``dominance`` and ``naturalness`` are means on the corpus's scale,
    1 to 5; public code disagrees on which end of ``arousal`` is active: look before you use it. The six sessions have
    two speakers each. The data is ``restricted``.

    Args:
        source: The folder that holds ``Evalution.txt`` and the sessions.
        report: Receives what is left out, by reason, file and line.

    Returns:
        The splits.

    Raises:
        CorpusError: The folder is not MSP-IMPROV, or nothing in it can be used.

    Example:
        >>> read_msp_improv("MSP-IMPROV", split="session", test_fold=6)  # doctest: +SKIP
    """
    settings = check_options(INFO, source, options)
    root = corpus_folder(source)
    report = report_on(root, report)
    return build_corpus(_utterances(root, report), settings, report)
