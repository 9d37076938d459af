"""The corpora that have a reader, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .._tables import resolve

if TYPE_CHECKING:
    from .options import CorpusReader

#: Name → file of this folder and reader in it, imported when it is asked for. What is known of a corpus before anything
#: is read, a :class:`hf_emo_dist.corpora.CorpusInfo`, is its reader's attribute ``info``.
CORPORA: Mapping[str, str] = MappingProxyType(
    {
        "iemocap": "iemocap:read_iemocap",
        "msp_podcast": "msp_podcast:read_msp_podcast",
        "cremad": "cremad:read_cremad",
        "emozionalmente": "emozionalmente:read_emozionalmente",
        "dusha": "dusha:read_dusha",
        "ravdess": "ravdess:read_ravdess",
        "emodb": "emodb:read_emodb",
    }
)


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
    reader: CorpusReader[Any] = resolve(name, CORPORA, "corpus", __package__)
    if not callable(reader) or not hasattr(reader, "info"):
        raise ValueError(
            f"Corpus {name!r}: {reader!r} is not a reader. Mend: name a function that is decorated with "
            "hf_emo_dist.corpora.corpus_reader(INFO)."
        )
    return reader
