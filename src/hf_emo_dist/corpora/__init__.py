"""Readers of corpora, one file each, of the user's own table, and the simulated corpus."""

from .._lazy import lazy_attributes

_NAMES = {
    "CorpusError": "utterances",
    "CorpusInfo": "utterances",
    "CorpusReport": "utterances",
    "ReadOptions": "options",
    "SIMULATED_DESCRIPTION": "simulated",
    "SIMULATED_EMOTIONS": "simulated",
    "SIMULATED_VOTE_SOURCE": "simulated",
    "TableError": "table.file",
    "VotesOnly": "cremad",
    "read_cremad": "cremad",
    "read_dusha": "dusha",
    "read_emodb": "intended",
    "read_emozionalmente": "emozionalmente",
    "read_iemocap": "iemocap",
    "read_msp_podcast": "msp_podcast",
    "read_ravdess": "intended",
    "read_table": "table.read",
    "simulate_corpus": "simulated",
    "votes_only": "cremad",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
