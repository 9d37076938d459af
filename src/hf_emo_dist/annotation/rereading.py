"""Stored replies read again by today's parser, without paying: what was a failure of reading may be a vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from .capabilities import may_answer
from .parsing import PARSER_VERSION, read_reply
from .types import Record

#: Outcomes that are the reader's verdict on a text. Others, such as a reply that was cut off, are the service's.
READING_FAILURES = ("unparseable", "outside", "bad_sum")


def read_again(
    record: Record, emotions: Sequence[str], lenient: bool = False, answers_as: Sequence[str] = ()
) -> Record | None:
    """A further attempt under the same key, in which the stored text is read anew; None where it reads as before.

    It costs nothing and is no request: money and tokens stay with the reply that was paid for.

    Args:
        record: A reply that is no vote.
        emotions: The label set that was asked for.
        lenient: Whether it is read as arXiv 2601.14620 does.
        answers_as: Names of models that may have answered, beside the one that was asked.

    Example:
        >>> old = Record("k", "unparseable", text="Emotion: sad", model="m", cost_usd=0.1, prompt_tokens=200)
        >>> new = read_again(old, ["angry", "sad"])
        >>> new.outcome, new.label, new.cost_usd, new.prompt_tokens
        ('ok', 'sad', 0.0, None)
    """
    if record.text is None:
        return None
    if record.model_version is not None and not may_answer(record.model, record.model_version, answers_as):
        return None
    reading = read_reply(record.text, record.mode, emotions, lenient)
    if (reading.outcome, reading.label, reading.distribution) == (record.outcome, record.label, record.distribution):
        return None
    return replace(
        record,
        outcome=reading.outcome,
        label=reading.label,
        distribution=reading.distribution,
        detail=f"{reading.detail} (read again; it was {record.outcome})".strip(),
        settings={**record.settings, "parser": PARSER_VERSION},
        prompt_tokens=None,
        audio_tokens=None,
        thinking_tokens=None,
        output_tokens=None,
        cost_usd=None if record.cost_usd is None else 0.0,
        latency_s=None,
        tries=0,
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
