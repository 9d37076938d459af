"""One data set: opened, read, written, split into folds, mapped to other labels."""

from .._lazy import lazy_attributes

_NAMES = {
    "DatasetLoadError": "loading",
    "NoVotesError": "label_map",
    "SplitError": "splits",
    "add_fold_column": "splits",
    "build_dataset": "writing",
    "check_splits": "splits",
    "describe_dataset": "data_facts",
    "dominant_classes": "label_map",
    "emotions_of": "loading",
    "folds_from_column": "splits",
    "load_emotion_dataset": "loading",
    "map_distributions": "label_map",
    "random_utterance_split": "splits",
    "row_features": "writing",
    "speaker_disjoint_split": "splits",
    "speaker_folds": "splits",
    "splits_from_folds": "splits",
    "write_dataset": "writing",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
