"""Exports of the tools that people label with, one file a tool: each becomes rows of one rating, read as a table is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..._tables import resolve

if TYPE_CHECKING:
    from .answers import ExportReader

__all__ = ["EXPORTS", "find_export"]

#: Name → file of this folder and reader in it, imported when it is asked for.
EXPORTS: Mapping[str, str] = MappingProxyType(
    {
        "label_studio": "label_studio:understand_label_studio",
        "potato": "potato:understand_potato",
        "argilla": "argilla:understand_argilla",
        "prolific": "prolific:understand_prolific",
        "audformat": "audformat:understand_audformat",
        "emo_superb": "emo_superb:understand_emo_superb",
    }
)


def find_export(name: str) -> ExportReader:
    """Find the reader of a tool's exports.

    Args:
        name: A key of :data:`EXPORTS`.

    Returns:
        The function; its signature has every option.

    Raises:
        ValueError: There is no such reader.

    Example:
        >>> find_export("potato").__name__
        'understand_potato'
    """
    reader: ExportReader = resolve(name, EXPORTS, "export", __name__)
    return reader
