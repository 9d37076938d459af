"""`hf-emo-dist ledger WHAT …`: what was spent, what failed and why; export, merge, and reading replies again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..annotation.batch.cancelling import cancel_jobs
from ..annotation.ledger.accounts import assumed, batch_jobs, existing, failures_by_reason, spending_by_day
from ..annotation.ledger.copying import copy_ledger
from ..annotation.ledger.journal import PLANNED, RUNNING
from ..annotation.ledger.ledger import Ledger
from ..annotation.rereading import READING_FAILURES
from ..annotation.rereading import reread as read_ledger_again
from ..annotation.types import FAILURES
from ..data.output import claimed_file, output_file
from ..emotions import validate_emotions
from .arguments import Options, Values
from .option import summary_of
from .terminal import in_one_line


def spending(ledger: Path) -> None:
    """What was spent, by day (UTC) and model.

    Args:
        ledger: The SQLite file.
    """
    rows = spending_by_day(ledger)
    table: list[tuple[str, ...]] = [
        ("day", "backend", "model", "replies", "votes", "no vote", "tokens in", "thinking", "out", "USD")
    ]
    for row in rows:
        cost = f"{row.cost_usd:.4f}" + (f" + {row.unpriced} without a price" if row.unpriced else "")
        counts = (row.replies, row.votes, row.failures, row.prompt_tokens, row.thinking_tokens, row.output_tokens)
        table.append((row.day, row.backend, row.model, *(f"{count:,}" for count in counts), cost))
    _print_table(table)
    total = sum(row.cost_usd for row in rows)
    unpriced = sum(row.unpriced for row in rows)
    told = f" and {unpriced:,} replies of which no price is known" if unpriced else ""
    _print(f"In all ${total:.4f}{told} for {sum(row.votes for row in rows):,} votes that count, by list prices.")
    apart = assumed(ledger)
    if apart.cost_usd:
        lost = f" ({apart.lost:,} requests were in flight when their run was cut short)" if apart.lost else ""
        _print(f"Of that ${apart.cost_usd:.4f} no service stated: what requests can cost at most{lost}.")
    if apart.reserved:
        _print(f"Beside that ${apart.reserved_usd:.4f} is reserved for {apart.reserved:,} requests.")


def failures(ledger: Path, *, plan: str | None = None, reasons: int = 5) -> None:
    """What has no vote, and why.

    Args:
        ledger: The SQLite file.
        plan: Only of this plan, as a data set's preparation.json names it.
        reasons: Most reasons to show of each outcome.
    """
    kinds = failures_by_reason(ledger, plan)
    for kind in kinds:
        _print(f"{kind.outcome}, {kind.model}: {kind.count:,} ({FAILURES.get(kind.outcome, 'not known here')})")
        for reason, count in list(kind.reasons.items())[:reasons]:
            _print(f"  {count:,} × {in_one_line(reason or 'no reason was given')}")
        if len(kind.reasons) > reasons:
            _print(f"  and {len(kind.reasons) - reasons:,} other reasons")
        _print(f"  rows such as {', '.join(map(in_one_line, kind.row_ids))}")
    if not kinds:
        _print("Every key has a vote.")
    elif any(kind.outcome in READING_FAILURES for kind in kinds):
        _print("Read what was not understood again, without paying: hf-emo-dist ledger reread")


def export(ledger: Path, output: Path, *, overwrite: bool = False) -> None:
    """All replies as a table, a row a reply.

    Args:
        ledger: The SQLite file.
        output: File to write: .parquet or .jsonl. For its owner alone, as the ledger is: replies may be private.
        overwrite: Whether a file that is there may be replaced.
    """
    writers: Mapping[str, Callable[[Any, Path], Any]] = {
        ".parquet": lambda data, part: data.to_parquet(part),
        ".jsonl": lambda data, part: data.to_json(part),
    }
    if output.suffix not in writers:
        raise ValueError(f"{output} is neither .parquet nor .jsonl. Mend: name the file so.")
    with claimed_file(output, overwrite) as file:
        with Ledger(existing(ledger)) as opened:
            dataset = opened.to_dataset()
        with output_file(file, private=True) as part:
            writers[output.suffix](dataset, part)
    _print(f"Wrote {len(dataset):,} replies to {output}")


def copy(ledger: Path, output: Path, *, overwrite: bool = False) -> None:
    """All of a ledger in one file, also while a run goes on: cp may miss what its -wal holds.

    Args:
        ledger: The SQLite file, which is only read.
        output: File to write, for its owner alone.
        overwrite: Whether a file that is there may be replaced.
    """
    _print(f"Copied {copy_ledger(ledger, output, overwrite):,} replies to {output}")


def merge(ledger: Path, others: Sequence[Path]) -> None:
    """Add the replies of other ledgers, rescue files or exported tables; what is there already is passed over.

    Args:
        ledger: The SQLite file that takes them; made if missing.
        others: Ledgers (.sqlite), rescue files (.part.jsonl), or tables that `export` wrote (.parquet, .jsonl).
    """
    from datasets import Dataset

    with Ledger(ledger) as opened:
        for other in map(Path, others):
            if other.suffix == ".parquet":
                new = opened.import_dataset(Dataset.from_parquet(str(existing(other))))
            else:
                new = opened.merge(other)
            left = f", {sum(new.left_out.values()):,} left out" if new.left_out else ""
            cost = f"; they add ${new.cost_usd:.4f} to what it has cost" if new.cost_usd else ""
            _print(f"{other}: {new:,} new replies{left}{cost}")
        spent = opened.spending()
        _print(f"{ledger} has {spent.replies:,} rows, which have cost ${spent.cost_usd:.4f}.")


def reread(
    ledger: Path,
    *,
    outcomes: Sequence[str] = READING_FAILURES,
    emotions: Sequence[str] | None = None,
    lenient: bool = False,
    answers_as: Sequence[str] = (),
    dry_run: bool = False,
) -> None:
    """Read stored replies again by today's parser, without sending anything; a vote that is there stays.

    Args:
        ledger: The SQLite file.
        outcomes: Which failures: those of reading, unless told; other_model needs answers_as. With ok it says how many
            votes would read otherwise.
        emotions: The label set that was asked for, where the ledger does not know it (version 0.1 did not write it).
        lenient: Likewise, whether the replies were read as the paper preset does.
        answers_as: Names of models that may have answered, beside the one that was asked.
        dry_run: Only tell what would change.
    """
    names = None if emotions is None else validate_emotions(list(emotions))
    with Ledger(existing(ledger)) as opened:
        found = read_ledger_again(opened, outcomes, names, lenient, answers_as, dry_run)
    _print(found.summary() + (" Nothing was stored (dry_run)." if dry_run else ""))


def jobs(ledger: Path, *, cancel: Sequence[str] = ()) -> None:
    """The batch jobs: what was submitted, and what became of it. `annotate --batch` collects them.

    Args:
        ledger: The SQLite file.
        cancel: Names of jobs to cancel, or all; what they have done by then is collected as ever.
    """
    if cancel:
        with Ledger(existing(ledger)) as opened:
            for job in cancel_jobs(opened, cancel):
                _print(f"Asked to cancel {job.name}.")
    found = batch_jobs(ledger)
    table: list[tuple[str, ...]] = [("job", "submitted (UTC)", "model", "requests", "in the ledger", "state", "")]
    for job in found:
        day = datetime.fromtimestamp(job.created, UTC).isoformat(" ", "minutes")[:16]
        counts = (f"{job.requests:,}", f"{job.replies:,}")
        table.append((job.name, day, job.model, *counts, job.state, " ".join(filter(None, (job.job, job.detail)))))
    if not found:
        _print("No batch job was ever submitted.")
        return
    _print_table(table)
    left = sum(job.requests - job.replies for job in found if job.state == RUNNING)
    _print(f"{left:,} requests are under way. Collect them: hf-emo-dist annotate … --batch")
    planned = [job for job in found if job.state == PLANNED]
    if planned:
        _print(
            f"{len(planned):,} planned with {sum(job.requests for job in planned):,} requests: written down, and it is "
            "not known whether the service has taken them, as after an upload that was cut short. The same command "
            "looks for them there, and submits again what the service does not have."
        )


_KINDS: Mapping[str, Callable[..., None]] = {
    "spending": spending,
    "failures": failures,
    "export": export,
    "copy": copy,
    "merge": merge,
    "reread": reread,
    "jobs": jobs,
}


def kinds() -> Mapping[str, str]:
    """What can be done with a ledger."""
    said = {name: summary_of(function).rstrip(".") for name, function in _KINDS.items()}
    return {name: text[:1].lower() + text[1:] for name, text in said.items()}


def options(kind: str) -> Options:
    """Those of the function."""
    return Options(_KINDS[kind])


def run(kind: str, values: Values) -> None:
    """Do it."""
    values.call(_KINDS[kind])


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        _print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
