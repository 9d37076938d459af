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
