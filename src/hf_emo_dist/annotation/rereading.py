"""Stored replies read again by today's parser, without paying: what was a failure of reading may be a vote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .capabilities import may_answer
from .parsing import PARSER_VERSION, read_reply
from .types import FAILURES, OK, Record

if TYPE_CHECKING:
    from .ledger.ledger import Ledger

#: Outcomes that are the reader's verdict on a text. Others, such as a reply that was cut off, are the service's.
READING_FAILURES = ("unparseable", "outside", "bad_sum")
#: What a reading has in common with the one before it: whose reply to what it is. What that cost stays with the first.
_SAME = (
    "key", "text", "backend", "endpoint", "model", "model_version", "focus", "temperature", "mode", "replicate",
    "wording", "persona", "prompt_version", "plan", "audio", "request", "row_id", "created",
)  # fmt: skip
_BATCH = 500


def read_again(
    record: Record, emotions: Sequence[str], lenient: bool = False, answers_as: Sequence[str] = ()
) -> Record | None:
    """A further attempt under the same key, in which the stored text is read anew; None where it reads as before.

    It costs nothing and is no request: money and tokens stay with the reply that was paid for.

    Args:
        record: A reply.
        emotions: The label set that was asked for.
        lenient: Whether it is read as arXiv 2601.14620 does.
        answers_as: Names of models that may have answered, beside the one that was asked.

    Example:
        >>> old = Record("k", "unparseable", text="Emotion: sad", model="m", cost_usd=0.1, prompt_tokens=200)
        >>> new = read_again(old, ["angry", "sad"])
        >>> new.outcome, new.label, new.cost_usd, new.prompt_tokens, new.tries
        ('ok', 'sad', 0.0, None, 0)
    """
    if record.text is None:
        return None
    # With any other outcome the model was taken for the one that was asked when the reply came.
    if record.outcome == "other_model" and not may_answer(record.model, record.model_version or "", answers_as):
        return None
    reading = read_reply(record.text, record.mode, emotions, lenient)
    if (reading.outcome, reading.label, reading.distribution) == (record.outcome, record.label, record.distribution):
        return None
    same: dict[str, Any] = {name: getattr(record, name) for name in _SAME}
    return Record(
        outcome=reading.outcome,
        label=reading.label,
        distribution=reading.distribution,
        detail=f"{reading.detail} (read again; it was {record.outcome})".strip(),
        settings={**record.settings, "parser": PARSER_VERSION},
        cost_usd=None if record.cost_usd is None else 0.0,
        tries=0,
        **same,
    )


@dataclass
class Rereading:
    """What came of reading a ledger again.

    Attributes:
        changed: (Outcome before, outcome now) to replies.
        unchanged: Outcome to replies that read as before.
        unknown: Plan to replies whose emotions nobody knows.
        otherwise: Votes that read otherwise now. They stay as they are.
    """

    changed: Counter[tuple[str, str]] = field(default_factory=Counter)
    unchanged: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    otherwise: int = 0

    @property
    def votes(self) -> int:
        """Votes that were won."""
        return sum(count for (_, now), count in self.changed.items() if now == OK)

    def summary(self) -> str:
        """In lines, by outcome."""
        lines = [f"{before} → {now}: {count:,}" for (before, now), count in sorted(self.changed.items())]
        lines += [f"{outcome}, as before: {count:,}" for outcome, count in sorted(self.unchanged.items())]
        lines += [
            f"plan {plan or '(none)'}: {count:,} replies whose emotions are not known. Mend: --emotions a,b,c, as they "
            "were asked for."
            for plan, count in sorted(self.unknown.items())
        ]
        if self.otherwise:
            lines.append(f"{self.otherwise:,} votes read otherwise now; they stay as they are.")
        return "\n".join([*lines, f"{self.votes:,} votes won, nothing sent."])


def reread(
    ledger: Ledger,
    outcomes: Collection[str] = READING_FAILURES,
    emotions: Sequence[str] | None = None,
    lenient: bool = False,
    answers_as: Sequence[str] = (),
    dry_run: bool = False,
) -> Rereading:
    """Read the failures of a ledger again, and store what reads otherwise now as a further attempt.

    A vote that is there counts for ever and is never replaced.

    Args:
        ledger: The ledger.
        outcomes: Of which outcomes. ``"other_model"`` needs `answers_as`; ``"ok"`` only counts which votes would read
            otherwise.
        emotions: What was asked for, where the ledger does not know it (0.1 did not write it).
        lenient: Likewise, whether the replies were read as arXiv 2601.14620 does.
        answers_as: Names of models that may have answered, beside the one that was asked.
        dry_run: Whether to store nothing.

    Returns:
        What changed.

    Raises:
        ValueError: An outcome is not known.
    """
    from .ledger.plans import Plan

    wrong = set(outcomes) - {OK, *FAILURES}
    if wrong:
        raise ValueError(f"outcomes {', '.join(sorted(wrong))} are not known. Mend: some of ok, {', '.join(FAILURES)}.")
    plans = ledger.plans()
    given = None if emotions is None else Plan(tuple(emotions), lenient)
    found, new = Rereading(), []
    for record in ledger.counting(outcomes):
        plan = plans.get(record.plan, given)
        if plan is None:
            found.unknown[record.plan] += record.text is not None
            continue
        again = read_again(record, plan.emotions, plan.lenient, answers_as)
        if record.outcome == OK:
            found.otherwise += again is not None
        elif again is None:
            found.unchanged[record.outcome] += 1
        else:
            found.changed[record.outcome, again.outcome] += 1
            new.append(again)
    if not dry_run:
        for start in range(0, len(new), _BATCH):
            ledger.store(new[start : start + _BATCH])
    return found
