"""The best checkpoint of a training that goes on, or ends: found by its name, and only where its weights are whole."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..data.intact import read_json
from ..modeling.whole_files import MEND
from .checkpoints import STATE_NAME, CheckpointError, checkpoints_in, why_not_whole

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Best:
    """A checkpoint's folder, its step and its score; None what there is not (the best step need not be a saved one)."""

    folder: str | None = None
    step: int | None = None
    score: float | None = None


def best_at_resume(checkpoint: str, output_dir: str, args: Any) -> Best:
    """Find the best checkpoint so far of a training that is gone on with, whatever its folder is called by now.

    Args:
        checkpoint: What is resumed from.
        output_dir: Where checkpoints are written.
        args: The training arguments; with `load_best_model_at_end` its weights must be whole.

    Returns:
        The one that the state of `checkpoint` names; where it is damaged, the best of those that are whole.

    Raises:
        CheckpointError: It is not there, and its weights would be those that the training ends with.
    """
    state = read_json(Path(checkpoint, STATE_NAME), MEND)
    recorded = state.get("best_model_checkpoint")
    without = Best(None, state.get("best_global_step"), state.get("best_metric"))
    if not isinstance(recorded, str) or not recorded:
        return without
    # what lies beside the one that is resumed from is of the same training; the path may be of another machine
    name = Path(recorded.replace("\\", "/")).name
    found = next(
        (
            str(path)
            for path in (Path(checkpoint).parent / name, Path(output_dir, name), Path(recorded))
            if path.is_dir()
        ),
        None,
    )
    if found is None and not args.load_best_model_at_end:
        return without
    if found is None:
        raise CheckpointError(
            f"the best checkpoint so far, {name} ({args.metric_for_best_model} {state.get('best_metric')}), is neither "
            f"beside {checkpoint} nor in {output_dir}, and the training is to end with its weights. Mend: copy {name} "
            "back there; or add --load_best_model_at_end false, to end with the last weights."
        )
    reason = why_not_whole(found, only_model=True) if args.load_best_model_at_end else None
    if reason is None:
        return replace(without, folder=found)
    return best_among_whole(found, reason, state.get("log_history") or [], state["global_step"], args)


def best_among_whole(
    damaged: str | os.PathLike[str], reason: str, history: Iterable[Any], last_step: int, args: Any
) -> Best:
    """Choose the best checkpoint anew, among those beside a damaged one whose weights are whole, with one warning.

    Args:
        damaged: The folder of the one that was best.
        reason: What is wrong with it.
        history: Evaluations so far, as `TrainerState.log_history` keeps them.
        last_step: Checkpoints of later steps are of another run.
        args: The training arguments.
    """
    scores = _scores(history, args.metric_for_best_model)
    there = [Best(str(path), step, scores[step]) for path in checkpoints_in(Path(damaged).parent)
             if (step := int(path.name.rpartition("-")[2])) in scores and step <= last_step]  # fmt: skip
    there.sort(key=lambda one: one.score or 0.0, reverse=bool(args.greater_is_better))
    chosen = next((one for one in there if why_not_whole(str(one.folder), only_model=True) is None), Best())
    logger.warning(
        "the best checkpoint, %s, cannot be loaded (%s). %s",
        damaged,
        reason,
        f"The best of those that are whole takes its place: {chosen.folder} ({args.metric_for_best_model} "
        f"{chosen.score:.4f})."
        if chosen.score is not None
        else "No other is whole: the last weights take its place, unless a later checkpoint is chosen.",
    )
    return chosen


def _scores(history: Iterable[Any], metric: str | None) -> dict[int, float]:
    """The score that chooses, by step."""
    name = str(metric) if str(metric).startswith("eval_") else f"eval_{metric}"
    entries = [entry for entry in history if isinstance(entry, Mapping) and isinstance(entry.get("step"), int)]
    return {entry["step"]: float(entry[name]) for entry in entries if isinstance(entry.get(name), int | float)}
