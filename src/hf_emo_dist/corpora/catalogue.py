"""What can be read, as tables: corpora, forms of a table, exports, and what the choices of every reader mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from . import CORPORA, find_reader
from .exports import EXPORTS, find_export
from .utterances import CorpusInfo

#: The forms that a table of votes may have: an example, and what to type.
FORMS: tuple[tuple[str, str, str], ...] = (
    (
        "one column of counts an emotion",
        "`file,angry,sad` / `a.wav,2,1`",
        "nothing; `Anger`, `count_angry` and `count::Angry` are known, too",
    ),
    (
        "shares or percent",
        "`a.wav,66.7,33.3`",
        "`--num_raters 9`, or the name of a column; `--amounts percent` where it is not known",
    ),
    (
        "one column of labels",
        "`angry|angry|sad`; `a; b`; `['a', 'b']`",
        "nothing where it is named `votes`, else `--votes_column NAME`",
    ),
    ("counts in a cell", '`{"angry": 2, "sad": 1}`', "as above"),
    (
        "one row a rating",
        "`file,rater,votes` / `a.wav,r1,sad` / `a.wav,r2,angry`",
        "nothing, or `--rater_column`, `--votes_column`",
    ),
    ("ratings in a cell", '`[{"label": "sad", "rater": "r1"}]`', "as above"),
    ("one column a rater", "`file,r1,r2,r3` / `a.wav,sad,sad,angry`", "`--votes_column r1,r2,r3`, or `'r*'`"),
)
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
        "Tables: `hf-emo-dist read table TABLE AUDIO_DIR OUTPUT`": _table(("form", "example", "what to type"), FORMS),
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
