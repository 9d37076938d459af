"""Readers of corpora, one file each, of the user's own table, and the simulated corpus."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .._lazy import lazy_attributes
from .._tables import resolve
from ..data import __all__ as _in_data

if TYPE_CHECKING:
    from .options import CorpusReader

#: Name → file of this folder and reader in it, imported when it is asked for. What is known of a corpus before anything
#: is read, a :class:`hf_emo_dist.corpora.CorpusInfo`, is its reader's attribute ``info``.
CORPORA: Mapping[str, str] = MappingProxyType(
    {
        "iemocap": "iemocap:read_iemocap",
        "msp_podcast": "msp_podcast:read_msp_podcast",
        "msp_improv": "msp_improv:read_msp_improv",
        "whiser": "whiser:read_whiser",
        "cremad": "cremad:read_cremad",
        "emozionalmente": "emozionalmente:read_emozionalmente",
        "dusha": "dusha:read_dusha",
        "thai_ser": "thai_ser:read_thai_ser",
        "kemdy": "kemdy:read_kemdy",
        "emonet_voice": "emonet_voice:read_emonet_voice",
        "ravdess": "ravdess:read_ravdess",
        "emodb": "emodb:read_emodb",
    }
)

_NAMES = {
    "CorpusError": "utterances",
    "CorpusInfo": "utterances",
    "CorpusReport": "utterances",
    "ReadOptions": "options",
    "SIMULATED_DESCRIPTION": "simulated",
    "SIMULATED_EMOTIONS": "simulated",
    "SIMULATED_VOTE_SOURCE": "simulated",
    "TableError": "table.content",
    "Utterance": "utterances",
    "VotesOnly": "cremad",
    "build_corpus": "building",
    "check_options": "options",
    "corpus_reader": "options",
    "read_table": "table.read",
    "read_dataset": "table.labelled_data",
    "understand_dataset": "table.labelled_data",
    "understand_table": "table.read",
    "simulate_corpus": "simulated",
    "votes_only": "cremad",
    # a reader of every corpus of the table: read_cremad and the others
    **{reader: module for module, _, reader in (place.partition(":") for place in CORPORA.values())},
}
__all__ = ["CORPORA", "find_reader", *_NAMES]
# names that stood here in 0.1 and belong to any data set
_MOVED = {name: f"hf_emo_dist.data.{name}" for name in _in_data}
_MOVED |= {
    "session_folds": 'hf_emo_dist.data.folds_from_column(rows, "session")',
    "read_vote_source": 'hf_emo_dist.data.loading.folder_card(folder).get("vote_source")',
}
__getattr__ = lazy_attributes(__name__, _NAMES, moved=_MOVED)


def find_reader(name: str) -> CorpusReader[Any]:
    """Find the reader of a corpus.

    Args:
        name: A key of :data:`CORPORA`; or ``module:Name`` of a reader of your own, made with
            :func:`hf_emo_dist.corpora.corpus_reader`.

    Returns:
        The function. Its signature has every option, and its attribute ``info`` what is known of the corpus.

    Raises:
        ValueError: There is no such corpus or module, or what it names is not a reader.

    Example:
        >>> find_reader("emodb").info.title
        'EMO-DB'
    """
    reader: CorpusReader[Any] = resolve(name, CORPORA, "corpus", __name__)
    if not callable(reader) or not hasattr(reader, "info"):
        raise ValueError(
            f"Corpus {name!r}: {reader!r} is not a reader. Mend: name a function that is decorated with "
            "hf_emo_dist.corpora.corpus_reader(INFO)."
        )
    return reader
