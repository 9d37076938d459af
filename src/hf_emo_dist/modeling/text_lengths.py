"""Transcripts that are far longer than anybody speaks: found before a batch that holds one takes all of the memory.

Attention keeps one number for each pair of tokens, for each row of a batch, padded to the longest: a transcript of 1 MB
asked for 640 GB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..data.rows import column_of, row_ids

#: Tokens up to which a transcript is always taken: thirty seconds of speech have some 150.
SHORT = 1024
#: Pairs of tokens that a batch's rows may have together, in a layer and head: 1 GiB of float32. Eight rows of 5,700
#: tokens have as many.
MOST_PAIRS = 1 << 28
#: Characters that are looked at: more than that is too long at any batch size.
_LOOKED_AT = 100_000


def check_lengths(
    processor: Any,
    names: Sequence[str],
    transcripts: Sequence[str | None],
    speakers: Sequence[str | None],
    batch_size: int,
) -> None:
    """Refuse rows whose words would make a batch too large.

    Args:
        processor: Of the model, whose `text_tokens` counts.
        names: Of the rows.
        transcripts: One a row, or None.
        speakers: One a row, or None.
        batch_size: Rows in one pass through the model.

    Raises:
        ValueError: The message names the rows.
    """
    long = []
    for name, *words in zip(names, transcripts, speakers, strict=True):
        texts = [None if text is None else str(text)[:_LOOKED_AT] for text in words]
        # a token takes a byte at least, and a character four of them at most
        if 4 * sum(len(text or "") for text in texts) <= SHORT:
            continue
        tokens = processor.text_tokens(*texts)
        if tokens > SHORT and batch_size * tokens**2 > MOST_PAIRS:
            long.append((tokens, name))
    if not long:
        return
    tokens = max(tokens for tokens, _ in long)
    fits = MOST_PAIRS // tokens**2
    smaller = f"; or a batch size of {fits}" if fits else ""
    more = f" and {len(long) - 5} more" if len(long) > 5 else ""
    raise ValueError(
        f"The words of row {', '.join(repr(name) for _, name in long[:5])}{more} are far longer than a clip can hold "
        f"({tokens:,} tokens or more), and a batch of {batch_size} padded to that would need "
        f"{4 * batch_size * tokens**2 / 1e9:,.0f} GB a layer and head. Mend: correct or leave out the transcript "
        f"(use_transcript=false leaves out all){smaller}."
    )


def check_row_lengths(processor: Any, rows: Any, batch_size: int) -> None:
    """Refuse rows of a data set whose words would make a batch too large, see `check_lengths`."""
    transcripts, speakers = column_of(rows, "transcript"), column_of(rows, "speaker")
    if transcripts is None and speakers is None:
        return
    nothing: list[None] = [None] * len(rows)
    check_lengths(processor, row_ids(rows), transcripts or nothing, speakers or nothing, batch_size)
