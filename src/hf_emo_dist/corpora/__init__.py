"""Readers of corpora, one file each, of the user's own table, and the simulated corpus."""

from .._lazy import lazy_attributes
from ..data import __all__ as _in_data
from .registry import CORPORA

_NAMES = {
    "CORPORA": "registry",
    "CorpusError": "utterances",
    "CorpusInfo": "utterances",
    "CorpusReport": "utterances",
    "ReadOptions": "options",
    "SIMULATED_DESCRIPTION": "simulated",
    "SIMULATED_EMOTIONS": "simulated",
    "SIMULATED_VOTE_SOURCE": "simulated",
    "TableError": "table.file",
    "Utterance": "utterances",
    "VotesOnly": "cremad",
    "build_corpus": "building",
    "check_options": "options",
    "corpus_reader": "options",
    "find_reader": "registry",
    "read_table": "table.read",
    "simulate_corpus": "simulated",
    "votes_only": "cremad",
    # a reader of every corpus of the table: read_cremad and the others
    **{reader: module for module, _, reader in (place.partition(":") for place in CORPORA.values())},
}
__all__ = list(_NAMES)
# names that stood here in 0.1 and belong to any data set
_MOVED = {name: f"hf_emo_dist.data.{name}" for name in _in_data}
_MOVED["session_folds"] = 'hf_emo_dist.data.folds_from_column(rows, "session")'
__getattr__ = lazy_attributes(__name__, _NAMES, moved=_MOVED)
