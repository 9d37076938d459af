"""The progress bar of a run: votes, rate, failures, tokens and money so far."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from .run_report import RunReport

__all__ = ["Progress"]


class Progress:
    """A `tqdm` bar over votes, or nothing.

    Args:
        total: Replies that are wanted; None where that is not known.
        shown: Whether to draw it.
        leave: Whether it stays on the screen when the run is over.
    """

    def __init__(self, total: int | None = None, shown: bool = True, leave: bool = True) -> None:
        self._bar: Any = None
        if shown:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, desc="Annotating", unit="vote", leave=leave, mininterval=0.5, smoothing=0.05)

    def show(self, report: RunReport, advance: int = 1) -> None:
        """Draws what the report counts now, `advance` votes further."""
        if self._bar is None:
            return
        # Building the figures costs more than a vote does: only when the bar is drawn anyway.
        if self._bar.update(advance) or advance == 0:
            failures = sum(map(len, report.failures.values())) + len(report.skipped)
            figures: dict[str, Any] = {
                "failed": failures,
                "tokens": sum(report.tokens[k] for k in ("prompt", "thinking", "output")),
            }
            if report.cost_usd:
                figures["USD"] = f"{report.cost_usd:.4f}"
            if report.transport_errors:
                figures["repeated"] = sum(report.transport_errors.values())
            self._bar.set_postfix(figures, refresh=False)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
