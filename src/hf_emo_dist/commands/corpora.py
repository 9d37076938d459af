"""`hf-emo-dist corpora`: what can be read, as Markdown tables."""

from __future__ import annotations

import sys

from ..corpora.catalogue import catalogue


def corpora() -> None:
    """The corpora and the tools whose exports can be read, and what becomes of votes and splits."""
    sys.stdout.write(catalogue())
