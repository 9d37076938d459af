"""`hf-emo-dist models`: what is known of the models that can be asked, with the age of each fact."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from ..annotation.model_data import SERVICES, models_table


def models(*, service: Sequence[str] = SERVICES) -> None:
    """The models that are known: prices, what they take and honour, and when they end.

    Args:
        service: Of which services: gemini, vertex, openai, openai-compatible, transformers.
    """
    sys.stdout.write(models_table(service, datetime.now(UTC).date()))
    sys.stdout.write(
        "Prices in US dollars a million tokens. What is not known, or has changed, can be given: --capabilities "
        "'{temperature: true}' and --prices '{text_in: 1, audio_in: 1, output: 4}' of annotate and estimate.\n"
    )
