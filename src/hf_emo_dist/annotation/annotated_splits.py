"""The splits of one data set, some of them annotated, and what a card must say of the votes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .run.run_report import AnnotationIncomplete, RunReport

if TYPE_CHECKING:
    from datasets import Dataset

    from .annotator import Annotator


class AnnotatedSplits(NamedTuple):
    """Every split, the report of each that was annotated, and what was done, for `preparation.json`."""

    splits: dict[str, Dataset]
    reports: dict[str, RunReport]
    about: dict[str, Any]


def annotate_splits(
    annotator: Annotator, splits: Mapping[str, Dataset], chosen: Collection[str], pilot: int = 0
) -> AnnotatedSplits:
    """Annotate the chosen splits; the others get the same columns, without votes.

    Args:
        annotator: Who votes.
        splits: Split name to rows.
        chosen: Names of those to annotate.
        pilot: As for `Annotator.annotate`.

    Returns:
        The splits, the reports, and facts without paths and secrets: the annotator, who answered and what it cost
        whichever run the votes came in, and what failed.

    Raises:
        AnnotationIncomplete: A run had to stop. Replies are in the ledger; the same call goes on from there.
    """
    done: dict[str, Dataset] = {}
    reports: dict[str, RunReport] = {}
    for split, rows in splits.items():
        if split not in chosen:  # the splits of one data set have the same columns
            done[split] = annotator.without_votes(rows)
            continue
        done[split], reports[split] = annotator.annotate(rows, pilot)
        if not reports[split].complete:
            raise AnnotationIncomplete(reports[split])
    versions: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    cost: float | None = 0.0
    for rows in done.values():
        for batch in rows.select_columns("synthetic_annotations").iter(batch_size=1000):
            entries = [entry for row in batch["synthetic_annotations"] for entry in row]
            versions.update(entry["model"] for entry in entries)
            # from the ledger, since an earlier run may have paid
            for record in annotator.ledger.lookup([entry["key"] for entry in entries]).values():
                cost = None if cost is None or record.cost_usd is None else cost + record.cost_usd
    for report in reports.values():
        failures.update({outcome: len(ids) for outcome, ids in report.failures.items()})
    about = {
        **annotator.describe(),
        "model_versions": dict(versions),
        "cost_usd": cost,
        "splits": list(reports),
        "num_votes": sum(versions.values()),
        "num_requests": sum(report.requests for report in reports.values()),
        "failures": dict(failures),
        "skipped": sorted(row_id for report in reports.values() for row_id in report.skipped),
    }
    return AnnotatedSplits(done, reports, about)
