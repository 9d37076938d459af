"""Readers of corpora, the simulated corpus, splits, and what turns any of them into a data set on disk."""

from hf_emo_dist.corpora.cremad import VotesOnly, read_cremad, votes_only
from hf_emo_dist.corpora.dusha import read_dusha
from hf_emo_dist.corpora.emozionalmente import read_emozionalmente
from hf_emo_dist.corpora.folds import (
    SplitError,
    add_fold_column,
    check_splits,
    random_utterance_split,
    session_folds,
    splits_from_folds,
)
from hf_emo_dist.corpora.iemocap import read_iemocap
from hf_emo_dist.corpora.intended import read_emodb, read_ravdess
from hf_emo_dist.corpora.label_map import NoVotesError, dominant_classes, map_distributions
from hf_emo_dist.corpora.loading import DatasetLoadError, emotions_of, load_emotion_dataset, read_vote_source
from hf_emo_dist.corpora.msp_podcast import read_msp_podcast
from hf_emo_dist.corpora.options import ReadOptions
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
from hf_emo_dist.corpora.utterances import CorpusError, CorpusInfo, CorpusReport
from hf_emo_dist.corpora.writing import build_dataset, row_features, write_dataset

__all__ = [
    "SIMULATED_DESCRIPTION",
    "SIMULATED_EMOTIONS",
    "SIMULATED_VOTE_SOURCE",
    "CorpusError",
    "CorpusInfo",
    "CorpusReport",
    "DatasetLoadError",
    "NoVotesError",
    "ReadOptions",
    "SplitError",
    "TableError",
    "VotesOnly",
    "add_fold_column",
    "build_dataset",
    "check_speaker_disjoint",
    "check_splits",
    "describe_dataset",
    "dominant_classes",
    "emotions_of",
    "folds_from_column",
    "load_emotion_dataset",
    "map_distributions",
    "random_utterance_split",
    "read_cremad",
    "read_dusha",
    "read_emodb",
    "read_emozionalmente",
    "read_iemocap",
    "read_msp_podcast",
    "read_ravdess",
    "read_table",
    "read_vote_source",
    "row_features",
    "session_folds",
    "simulate_corpus",
    "speaker_disjoint_split",
    "speaker_folds",
    "splits_from_folds",
    "votes_only",
    "write_dataset",
]
