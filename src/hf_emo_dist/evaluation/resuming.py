"""Training and predicting that is done once: a folder a model, its predictions, and the settings behind them."""

from __future__ import annotations

import copy
import gc
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..data.opened import OpenedDataset, open_dataset
from ..data.output import one_run, write_json
from ..data.rows import row_ids
from ..votes import distributions_to_matrix
from .checkpoint import open_model, write_predictions
from .scoring import jsonable

logger = logging.getLogger(__name__)

# Arguments that change what is shown or how fast it is, not what is learnt.
NOT_LEARNT = ("output_dir", "run_name", "report_to", "disable_tqdm", "resume_from_checkpoint", "push_to_hub")
NOT_LEARNT_PREFIXES = ("logging_", "log_", "dataloader_", "hub_")


def parse_recipe(words: Sequence[str], output: str | Path) -> tuple[Any, Any]:
    """Recipe and training arguments from the words after `--`, which are those of `hf-emo-dist train`."""
    from ..training.fine_tuning import parse_config

    rest = [word for place, word in enumerate(words) if not (place == 0 and word == "--")]
    if not rest:
        raise ValueError(
            "Nothing says how to train. Mend: end the command with -- --config C --backbone B --dataset D."
        )
    if any(word.startswith("--output_dir") for word in rest):
        raise ValueError("--output_dir is set by --output. Mend: leave it out after --.")
    return parse_config([*rest, "--output_dir", str(output)])


def open_recipe(recipe: Any, vote_source: str | None) -> OpenedDataset:
    """The data set that a recipe trains on; a `ValueError` where it names no backbone or no data set."""
    for name in ("backbone", "dataset"):
        if getattr(recipe, name) is None:
            raise ValueError(f"There is no {name}. Mend: add --{name}, a local folder or a Hub id, for the training.")
    return open_dataset(
        recipe.dataset,
        revision=recipe.dataset_revision,
        emotions=recipe.label_set,
        vote_source=vote_source,
    )


def backbone_stamp(name_or_path: str) -> str:
    """A Hub id as it is; a local folder as a digest of its files' names, sizes and times, which a new write changes."""
    folder = Path(name_or_path)
    if not folder.is_dir():
        return name_or_path
    files = sorted(path for path in folder.iterdir() if path.is_file())
    about = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def data_stamp(
    ids: Sequence[str], emotions: Sequence[str], matrices: Sequence[np.ndarray], folds: Sequence[np.ndarray]
) -> dict[str, str]:
    """Digests of the rows with their targets, and of the folds (indices of each one's rows)."""
    digest = hashlib.sha256(json.dumps([list(emotions), list(ids)]).encode())
    for matrix in matrices:
        digest.update(np.ascontiguousarray(matrix, dtype="<f8").tobytes())
    cut = hashlib.sha256(json.dumps([test.tolist() for test in folds]).encode())
    return {"data": digest.hexdigest(), "folds": cut.hexdigest()}


def is_done(file: Path, about: Path, settings: dict[str, Any]) -> bool:
    """Whether predictions are there that were made with these settings; those of others are refused by a `ValueError`.

    Options that are off, and that one of the two versions does not have, do not count as other settings.
    """
    if not (file.is_file() and about.is_file()):
        return False
    before = json.loads(about.read_text(encoding="utf-8"))["settings"]
    now = json.loads(json.dumps(jsonable(settings), default=str))
    changed = sorted(
        key
        for key in before.keys() | now.keys()
        if before.get(key) != now.get(key)
        and ((key in before and key in now) or {**before, **now}[key] not in (None, False, 0, 0.0, "", [], {}))
    )
    if changed:
        raise ValueError(
            f"{file.parent} holds predictions of a run with other settings ({', '.join(changed)}). Mend: add "
            "--overwrite to train again, or choose another output folder."
        )
    return True


def read_predictions(file: str | Path, ids: Sequence[str], emotions: Sequence[str]) -> np.ndarray:
    """The predicted distributions (N, K) in a file that `write_predictions` wrote for just these rows."""
    import pyarrow.parquet as pq

    table = pq.read_table(file, columns=["id", "predicted_distribution"])
    if table["id"].to_pylist() != list(ids):
        raise ValueError(
            f"{file} holds other rows than this run has. Mend: add --overwrite, or choose another output folder."
        )
    return distributions_to_matrix(
        table["predicted_distribution"], emotions, ids=ids, column_name="predicted_distribution"
    )


def predictions_for(path: str | Path, ids: Sequence[str], emotions: Sequence[str]) -> np.ndarray:
    """Predicted distributions (N, K) of these rows from a `predictions.parquet`, matched by id."""
    import pyarrow.parquet as pq

    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(
            f"There are no predictions at {file}. Mend: hf-emo-dist evaluate writes predictions.parquet."
        )
    found = pq.read_table(file, columns=["id", "predicted_distribution"])
    places = {name: place for place, name in enumerate(found["id"].to_pylist())}
    lacking = [name for name in ids if name not in places]
    if lacking:
        raise ValueError(
            f"{file.name} lacks {len(lacking)} of {len(ids)} rows: {', '.join(lacking[:5])}. Mend: predict the same "
            "split, or name it with --split."
        )
    column = found["predicted_distribution"].take([places[name] for name in ids])
    return distributions_to_matrix(column, emotions, ids=list(ids), column_name="predicted_distribution")


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

    `folder` receives `predictions.parquet`, `cell.json` and, while training or if kept, `checkpoint`; `train` makes the
    training rows, where they are needed; `settings` is what decides the outcome beside recipe and arguments. Given back
    are the predictions, in the order of `emotions`, and what is known of the training.

    Raises:
        ValueError: The folder holds predictions of other settings; it names those.
    """
    from ..modeling.prediction import predict_distributions
    from ..training.fine_tuning import run_training

    file, about, checkpoint = folder / "predictions.parquet", folder / "cell.json", folder / "checkpoint"
    learnt = {
        **{
            key: value
            for key, value in args.to_dict().items()
            if key not in NOT_LEARNT and not key.startswith(NOT_LEARNT_PREFIXES)
        },
        **{f"recipe.{key}": value for key, value in vars(recipe).items() if key not in ("dataset", "backbone")},
        "backbone": backbone_stamp(recipe.backbone),
        **settings,
    }
    ids = row_ids(test)
    if not overwrite and is_done(file, about, learnt):
        logger.info("%s has been predicted already", folder.name)
        return read_predictions(file, ids, emotions), json.loads(about.read_text(encoding="utf-8"))["detail"]
    if about.is_file() and checkpoint.is_dir():
        shutil.rmtree(checkpoint)  # half a training of our own
    file.unlink(missing_ok=True)
    write_json(about, jsonable({"settings": learnt}))
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
    # the next cell's model must find the memory free
    del model
    gc.collect()
    detail = {
        "train_rows": len(rows),
        "training_seconds": round(seconds, 1),
        "validation_js_divergence": scores.get("eval_js_divergence"),
    }
    write_json(about, jsonable({"settings": learnt, "detail": detail}))
    write_predictions(file, test, emotions, {"predicted_distribution": predicted})  # last: it says that this is done
    if not keep_checkpoints:
        shutil.rmtree(checkpoint)
    # read back, so that a first run and a resumed one agree to the last digit
    return read_predictions(file, ids, emotions), detail


@contextmanager
def resumable(folder: str | Path) -> Iterator[None]:
    """Hold the folder for this run, and let Ctrl-C say how to go on (the command line shows the interrupt's text)."""
    try:
        with one_run(folder):
            yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"what is done is in {folder}; run the same command to go on") from error
