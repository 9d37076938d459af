"""Readers of corpora, the simulated corpus, and what turns any of them into a data set on disk."""

from hf_emo_dist.corpora.loading import DatasetLoadError, emotions_of, load_emotion_dataset, read_vote_source
from hf_emo_dist.corpora.simulated import (
    SIMULATED_DESCRIPTION,
    SIMULATED_EMOTIONS,
    SIMULATED_VOTE_SOURCE,
    simulate_corpus,
)
from hf_emo_dist.corpora.splits import check_speaker_disjoint, folds_from_column, speaker_disjoint_split, speaker_folds
from hf_emo_dist.corpora.summary import describe_dataset
from hf_emo_dist.corpora.table import read_table
from hf_emo_dist.corpora.table_file import TableError
from hf_emo_dist.corpora.writing import build_dataset, row_features, write_dataset

__all__ = [
    "SIMULATED_DESCRIPTION",
    "SIMULATED_EMOTIONS",
    "SIMULATED_VOTE_SOURCE",
    "DatasetLoadError",
    "TableError",
    "build_dataset",
    "check_speaker_disjoint",
    "describe_dataset",
    "emotions_of",
    "folds_from_column",
    "load_emotion_dataset",
    "read_table",
    "read_vote_source",
    "row_features",
    "simulate_corpus",
    "speaker_disjoint_split",
    "speaker_folds",
    "write_dataset",
]
