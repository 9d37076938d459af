"""WHiSER: crowd votes on speech of the White House tapes, in the label files of the MSP lab."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from .building import build_corpus
from .label_files import audio_below, corpus_folder, find_folder, stem_of
from .msp_labels import COLUMNS, find_details, rated_utterances, read_summaries
from .options import ReadOptions, check_options, corpus_reader
from .utterances import CorpusInfo, CorpusReport, Utterance, report_on

if TYPE_CHECKING:
    from datasets import DatasetDict

_EMOTIONS = ("angry", "happy", "neutral", "sad", "surprise", "fear", "disgust", "contempt", "other")
INFO = CorpusInfo(
    name="whiser",
    title="WHiSER",
    language="en",
    emotions=_EMOTIONS,
    license="other",
    terms="Given out by the MSP lab for non-commercial use, after its conditions are agreed to.",
    citation="Naini, A. R., Goncalves, L., Kohler, M. A., Robinson, D., Richerson, E., & Busso, C. (2024). WHiSER: "
    "White House Tapes speech emotion recognition corpus. Interspeech 2024, 1595-1599.",
    vote_source="WHiSER's crowd raters, who chose one primary emotion after listening. Free text beside Other counts "
    "as other.",
    reads="`labels_detailed.csv`, `.json` or `labels.txt`; `labels_consensus`; wavs below",
    restricted=True,
    columns=COLUMNS,
)


def _labels_folder(root: Path) -> Path:
    """The folder of the label files: in the corpus's folder, or one further down, as the archive has it."""
    places = (root, *sorted(path for path in root.iterdir() if path.is_dir()))
    return next((found for place in places if (found := find_folder(place, "Labels", "label"))), root)


def _utterances(root: Path, secondary: bool, report: CorpusReport) -> Iterator[Utterance]:
    folder = _labels_folder(root)
    details = find_details(folder, INFO.title)
    found, again = audio_below(root)
    clips = {os.path.basename(path): path for path in found.values()}
    described: set[str] = set()
    for utterance in rated_utterances(
        details, clips, report, emotions=_EMOTIONS, summaries=read_summaries(folder, report), secondary=secondary
    ):
        described.add(utterance.id)
        yield utterance
    for stem, path in again:
        report.skip("duplicate_id", stem, report.name(path), "another file of this name is read")
    for name, path in clips.items():
        if stem_of(name) not in described:
            report.skip("no_labels", stem_of(name), report.name(path))


@corpus_reader(INFO)
def read_whiser(
    source: str | Path,
    *,
    secondary: bool = False,
    report: CorpusReport | None = None,
    **options: Unpack[ReadOptions],
) -> DatasetDict:
    """Read WHiSER: its label files are those of MSP-Podcast, see :func:`read_msp_podcast`.

    ``arousal``, ``valence`` and ``dominance`` are means on 1 to 7, from ``labels_consensus``, else from the first line
    of the clip's block in ``labels.txt``, else over the raters. The data is ``restricted``.

    Args:
        source: The folder that holds ``Labels`` and the clips, in any folder below.
        secondary: Add ``secondary_votes`` (any number a rater) and ``secondary_raters``, which say who gave each.
        report: Receives what is left out, by reason, file and line.

    Returns:
        The splits.

    Raises:
        CorpusError: The folder is not WHiSER, or nothing in it can be used.

    Example:
        >>> read_whiser("WHiSER", emotions=["angry", "happy", "neutral", "sad"])  # doctest: +SKIP
    """
    info = INFO
    if secondary:
        info = replace(INFO, columns={**INFO.columns, "secondary_votes": "strings", "secondary_raters": "strings"})
    settings = check_options(info, source, options)
    root = corpus_folder(source)
    report = report_on(root, report)
    return build_corpus(_utterances(root, secondary, report), settings, report)
