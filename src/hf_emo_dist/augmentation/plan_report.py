"""What a plan does to a data set, before any audio is mixed: class mass before and after, and where it is redundant."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..distributions import FloatArray


@dataclass
class PlanReport:
    """What a plan changes."""

    emotions: list[str]  # the order of all lists
    rows_before: int
    rows_added: int
    mass_before: list[float]  # expected class mass: the sum of the distributions, in utterances
    mass_after: list[float]
    counts_before: list[int]  # rows by dominant emotion
    counts_after: list[int]
    balance: list[float]  # what was aimed at, shares
    sources: int  # utterances that at least one planned row is mixed from
    uses_mean: float  # planned rows that a source stands in, each source weighed by its use
    uses_most: int
    unmet: dict[str, str] = field(default_factory=dict)  # emotion to the reason why its target was not reached
    left_out: dict[str, list[str]] = field(default_factory=dict)  # reason to the ids of rows that are not mixed
    warnings: list[str] = field(default_factory=list)
    index: str = "exact"
    recall: float | None = None  # share of the exact neighbours that the index found on a sample; None: all
    settings: dict[str, Any] = field(default_factory=dict)  # of DiMEAug

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)

    def to_markdown(self) -> str:
        """The table of class mass, and everything a reader must know, in Markdown."""
        before, after = np.array(self.mass_before), np.array(self.mass_after)
        lines = [
            f"{self.rows_before} utterances, {self.rows_added} mixed rows from {self.sources} of them.",
            "",
            "| emotion | mass before | after | share before | after | wanted "
            "| rows by dominant emotion before | after |",
            "|---|---|---|---|---|---|---|---|",
        ]
        shares = before / max(before.sum(), 1e-12), after / max(after.sum(), 1e-12)
        for k, name in enumerate(self.emotions):
            lines.append(
                f"| {name} | {before[k]:.1f} | {after[k]:.1f} | {shares[0][k]:.3f} | {shares[1][k]:.3f} "
                f"| {self.balance[k]:.3f} | {self.counts_before[k]} | {self.counts_after[k]} |"
            )
        if self.rows_added:
            lines += [
                "",
                f"A source stands in {self.uses_mean:.1f} planned rows on average, in {self.uses_most} at most.",
            ]
        if self.recall is not None:
            lines.append(f"Neighbours by {self.index}: {100 * self.recall:.1f} % of the exact ones on a sample.")
        lines += [f"Not reached: {name}: {reason}." for name, reason in self.unmet.items()]
        for reason, ids in self.left_out.items():
            lines.append(f"Left out, {reason}: {len(ids)} ({', '.join(ids[:5])}{', ...' if len(ids) > 5 else ''}).")
        lines += [f"Warning: {text}" for text in self.warnings]
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        return self.to_markdown()


def redundancy_warnings(report: PlanReport, balance: FloatArray | None) -> list[str]:
    """Where a plan is redundant: it hardly changes the class mass, or repeats a few utterances."""
    # `balance` (K,) is what was asked for; None where rows by class were, and any change of the mass is meant
    if not report.rows_added:
        return []
    found: list[str] = []
    before, after = np.array(report.mass_before), np.array(report.mass_after)

    def distance(mass: FloatArray, wanted: FloatArray) -> float:
        return 0.5 * float(np.abs(mass / mass.sum() - wanted / wanted.sum()).sum())

    if balance is None:
        gain, told = distance(after, before), ""
    else:
        far = distance(before, balance), distance(after, balance)
        gain, told = far[0] - far[1], f" (distance to the wanted one {far[0]:.3f} before, {far[1]:.3f} after)"
    # a row can at most move its own share of the mass
    if gain < 0.1 * report.rows_added / (report.rows_before + report.rows_added):
        found.append(
            f"{report.rows_added} mixed rows hardly change the balance of the classes{told}: they are redundant, and "
            "may cost accuracy. Mend: lower target_ratio, or do not augment this data."
        )
    if report.uses_mean > 20:
        found.append(
            f"the mixed rows repeat few utterances: {report.sources} sources, each in {report.uses_mean:.0f} of them "
            "on average. Mend: lower target_ratio or max_repeats, or record more utterances of the rare emotions."
        )
    return found
