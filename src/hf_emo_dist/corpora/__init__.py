"""Readers of corpora, one file each, of the user's own table, and the simulated corpus."""

from .._lazy import lazy_attributes
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
_IN_DATA = (
    "DatasetLoadError",
    "NoVotesError",
    "SplitError",
    "add_fold_column",
    "build_dataset",
    "check_splits",
    "describe_dataset",
    "dominant_classes",
    "emotions_of",
    "folds_from_column",
    "load_emotion_dataset",
    "map_distributions",
    "random_utterance_split",
    "read_vote_source",
    "row_features",
    "session_folds",
    "speaker_disjoint_split",
    "speaker_folds",
    "splits_from_folds",
    "write_dataset",
)
__getattr__ = lazy_attributes(__name__, _NAMES, moved={name: f"hf_emo_dist.data.{name}" for name in _IN_DATA})
