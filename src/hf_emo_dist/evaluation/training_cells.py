"""Training and predicting that is done once: a folder a model, predictions that a stopped run finds again."""

from __future__ import annotations

import copy
import gc
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..commands.running import KnownStop
from ..data.rows import row_ids
from .resuming import is_done, learning_settings, read_predictions, write_json

__all__ = ["parse_recipe", "predicted_by_training", "resumable"]

logger = logging.getLogger(__name__)


def parse_recipe(words: Sequence[str], output: str | Path) -> tuple[Any, Any]:
    """Recipe and training arguments from the words after `--`, as `recipes/train.py` takes them; `--output_dir` is set here.

    Raises:
        ValueError: `--output_dir` is among them, or there are none.
    """
    from ..training.fine_tuning import parse_config

    rest = [word for place, word in enumerate(words) if not (place == 0 and word == "--")]
    if not rest:
        raise ValueError(
            "Nothing says how to train. Mend: end the command with -- --config C --backbone B --dataset D."
        )
    if any(word.startswith("--output_dir") for word in rest):
        raise ValueError("--output_dir is set by --output. Mend: leave it out after --.")
    return parse_config([*rest, "--output_dir", str(output)])


def predicted_by_training(
    recipe: Any,
    args: Any,
    folder: Path,
    emotions: Sequence[str],
    train: Callable[[], Any],
    validation: Any,
    test: Any,
    settings: dict[str, Any],
    *,
    overwrite: bool = False,
    keep_checkpoints: bool = False,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Predictions (N, K) of the test rows by a model that is trained now, or was before with the same settings.

    Args:
        recipe, args: What and how to train; `args.output_dir` is replaced.
        folder: Receives `predictions.parquet`, `cell.json` and, while training or if kept, `checkpoint`.
        emotions: K labels, the order of the predictions.
        train: Makes the training rows; called only where training is needed.
        validation: Rows that choose the checkpoint.
        test: Rows to predict.
        settings: What else decides the outcome.
        overwrite: Train again.
        keep_checkpoints: Do not delete the checkpoint.

    Raises:
        ValueError: The folder holds predictions of other settings; it names those.
    """
    from ..modeling.prediction import predict_distributions
    from ..training.fine_tuning import run_training
    from .checkpoint import open_model, write_predictions

    file, about, checkpoint = folder / "predictions.parquet", folder / "cell.json", folder / "checkpoint"
    learnt = {**learning_settings(recipe, args), **settings}
    ids = row_ids(test)
    if not overwrite and is_done(file, about, learnt):
        logger.info("%s has been predicted already", folder.name)
        return read_predictions(file, ids, emotions), json.loads(about.read_text(encoding="utf-8"))["detail"]
    if about.is_file() and checkpoint.is_dir():
        shutil.rmtree(checkpoint)  # half a training of our own
    file.unlink(missing_ok=True)
    write_json(about, {"settings": learnt})
    rows = train()
    own = copy.copy(args)
    own.output_dir, own.resume_from_checkpoint = str(checkpoint), None
    logger.info("%s: %d rows to train on, %d to predict", folder.name, len(rows), len(test))
    started = time.monotonic()
    scores = run_training(recipe, own, rows, validation)
    seconds = time.monotonic() - started
    model, processor = open_model(checkpoint, str(args.device))
    order = [list(model.config.emotions).index(emotion) for emotion in emotions]
    predicted = predict_distributions(model, processor, test, args.per_device_eval_batch_size)[:, order]
    del model
    gc.collect()
    detail = {
        "train_rows": len(rows),
        "training_seconds": round(seconds, 1),
        "validation_js_divergence": scores.get("eval_js_divergence"),
    }
    write_json(about, {"settings": learnt, "detail": detail})
    write_predictions(file, test, emotions, {"predicted_distribution": predicted})  # last: it says that this is done
    if not keep_checkpoints:
        shutil.rmtree(checkpoint)
    # read back, so that a first run and a resumed one agree to the last digit
    return read_predictions(file, ids, emotions), detail


@contextmanager
def resumable(folder: str | Path) -> Iterator[None]:
    """Turn Ctrl-C into a stop that says how to go on."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KnownStop(f"what is done is in {folder}; run the same command to go on") from error
