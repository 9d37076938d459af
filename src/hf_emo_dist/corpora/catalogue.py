"""What can be read, as tables: the corpora, the tools' exports, and what the choices of every reader mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from . import CORPORA, find_reader
from .exports import EXPORTS, find_export
from .utterances import CorpusInfo

#: What becomes of votes for something that is not among the emotions.
OUTSIDE: Mapping[str, str] = MappingProxyType(
    {
        "drop_vote": "the vote is dropped; an utterance without any vote left is left out",
        "drop_utterance": "the utterance is left out, as arXiv 2601.14620 does",
        "other": "the vote counts for `other`, which joins the label set",
    }
)
#: How rows are split, and whether speakers are in one part alone.
SPLITS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "own": (
            "the corpus's partition; without one all rows are `train` (`test` without votes)",
            "as the corpus has it; a warning where they are shared",
        ),
        "speaker": (
            "`train`, `validation`, `test` of whole speakers, with like shares of every emotion's expected mass "
            "(`--fractions`)",
            "disjoint",
        ),
        "folds": ("a column `fold` for `--num_folds`-fold cross-validation, stratified the same way", "disjoint"),
        "session": ("a column `fold` with the session: leave one session out", "disjoint"),
        "paper_random": (
            "80/20 by utterance, seed 42, 10 % of the rest for validation; the paper's own rows are not published",
            "**leak**, with a warning",
        ),
    }
)
_ATTRIBUTES = ("arousal", "valence", "dominance", "naturalness")


def catalogue() -> str:
    """Make the tables of ``docs/corpora.md``, which ``hf-emo-dist corpora`` prints.

    Example:
        >>> print(catalogue().splitlines()[2])
        | corpus | what is read | whose votes | means of | default split | terms |
    """
    corpora = [_corpus(find_reader(name).info) for name in CORPORA]
    exports = [(f"`{name}`", find_export(name).title) for name in EXPORTS]
    tables = {
        "Corpora: `hf-emo-dist read <corpus> FOLDER OUTPUT`": _table(
            ("corpus", "what is read", "whose votes", "means of", "default split", "terms"), corpora
        ),
        "Exports: `hf-emo-dist read <tool> EXPORT AUDIO_DIR OUTPUT`": _table(("tool", "what is read"), exports),
        "Votes outside the chosen emotions": _table(
            ("`--outside`", "what becomes of the vote"),
            [(f"`{name}`" + (" (default)" if name == "drop_vote" else ""), text) for name, text in OUTSIDE.items()],
        ),
        "Splits": _table(
            ("`--split`", "what it does", "speakers"),
            [(f"`{name}`", text, speakers) for name, (text, speakers) in SPLITS.items()],
        ),
    }
    return "\n".join(f"{caption}\n\n{table}" for caption, table in tables.items())


def _corpus(info: CorpusInfo) -> tuple[str, ...]:
    means = ", ".join(name for name in _ATTRIBUTES if name in info.columns) or "–"
    terms = f"**restricted.** {info.terms}" if info.restricted else info.terms
    return f"`{info.name}`", info.reads, info.vote_source, means, f"`{info.split}`", terms


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
