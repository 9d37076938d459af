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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._files import is_ordinary
from ..data.intact import BrokenFileError, digest_of, read_json, read_parquet, sealed
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
_AGAIN = "remove it, and the same command computes it again."


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


@dataclass(frozen=True)
class Cell:
    """Predictions that are done once, and what they were made with: the two files of a fold, a cell, a regression.

    Args:
        file: The predictions; they are whole where `about` has their digest, which is written after them.
        about: The settings, a checksum of its own, and whatever else is known.
    """

    file: Path
    about: Path

    def done(self, settings: dict[str, Any]) -> dict[str, Any] | None:
        """What is known of predictions that were made with these settings; None where there are none.

        Damaged ones are named, and count as not there: they are made again. Options that are off, and that one of the
        two versions does not have, do not count as other settings.

        Raises:
            ValueError: They were made with other settings; it names those.
        """
        if not self.about.is_file():
            return None
        try:
            known = read_json(self.about, _AGAIN, needs={"settings": dict})
            self._check_file(known)
        except BrokenFileError as error:
            logger.warning("%s is damaged (%s): it is computed again", error.file, error.reason)
            return None
        if not self.file.is_file() or not known.get("complete", True):
            return None
        self._check_settings(known["settings"], settings)
        return known

    def _check_file(self, known: dict[str, Any]) -> None:
        if self.file.is_file() and known.get("complete"):
            if digest_of(self.file) != known.get("digest"):
                raise BrokenFileError(self.file, "it does not hold what was written", _AGAIN)
        elif self.file.is_file():  # of 0.2, which kept no digest
            read_parquet(self.file, _AGAIN)

    def _check_settings(self, before: dict[str, Any], settings: dict[str, Any]) -> None:
        now = json.loads(json.dumps(jsonable(settings), default=str))
        changed = sorted(
            key
            for key in before.keys() | now.keys()
            if before.get(key) != now.get(key)
            and ((key in before and key in now) or {**before, **now}[key] not in (None, False, 0, 0.0, "", [], {}))
        )
        if changed:
            raise ValueError(
                f"{self.file.parent} holds predictions of a run with other settings ({', '.join(changed)}). Mend: add "
                "--overwrite to train again, or choose another output folder."
            )

    def begin(self, settings: dict[str, Any]) -> None:
        """Say what is going to be computed here, and that it is not done."""
        self._write({"settings": settings, "complete": False})
        self.file.unlink(missing_ok=True)

    def write(
        self, rows: Any, emotions: Sequence[str], predicted: np.ndarray, settings: dict[str, Any], **known: Any
    ) -> None:
        """Write predictions (N, K), then what they were made with, and what else is known."""
        write_predictions(self.file, rows, emotions, {"predicted_distribution": predicted})
        self._write({"settings": settings, **known, "complete": True, "digest": digest_of(self.file)})

    def _write(self, content: dict[str, Any]) -> None:
        write_json(self.about, sealed(jsonable(content)))


def read_predictions(file: str | Path, ids: Sequence[str], emotions: Sequence[str]) -> np.ndarray:
    """The predicted distributions (N, K) in a file that `write_predictions` wrote for just these rows."""
    table = read_parquet(file, _AGAIN, columns=["id", "predicted_distribution"])
    if table["id"].to_pylist() != list(ids):
        raise ValueError(
            f"{file} holds other rows than this run has. Mend: add --overwrite, or choose another output folder."
        )
    return distributions_to_matrix(
        table["predicted_distribution"], emotions, ids=ids, column_name="predicted_distribution"
    )


def predictions_for(path: str | Path, ids: Sequence[str], emotions: Sequence[str]) -> np.ndarray:
    """Predicted distributions (N, K) of these rows from a `predictions.parquet`, matched by id."""
    file = Path(path).expanduser()
    if not is_ordinary(file):
        raise FileNotFoundError(
            f"There are no predictions at {file}. Mend: hf-emo-dist evaluate writes predictions.parquet."
        )
    found = read_parquet(
        file, "predict again: hf-emo-dist evaluate writes it.", columns=["id", "predicted_distribution"]
    )
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

    cell, checkpoint = Cell(folder / "predictions.parquet", folder / "cell.json"), folder / "checkpoint"
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
    known = None if overwrite else cell.done(learnt)
    if known is not None and isinstance(known.get("detail"), dict):
        logger.info("%s has been predicted already", folder.name)
        return read_predictions(cell.file, ids, emotions), known["detail"]
    if cell.about.is_file() and checkpoint.is_dir():
        shutil.rmtree(checkpoint)  # half a training of our own
    cell.begin(learnt)
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
    cell.write(test, emotions, predicted, learnt, detail=detail)
    if not keep_checkpoints:
        shutil.rmtree(checkpoint)
    # read back, so that a first run and a resumed one agree to the last digit
    return read_predictions(cell.file, ids, emotions), jsonable(detail)


@contextmanager
def resumable(folder: str | Path) -> Iterator[None]:
    """Hold the folder for this run, and let Ctrl-C say how to go on (the command line shows the interrupt's text)."""
    try:
        with one_run(folder):
            yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"what is done is in {folder}; run the same command to go on") from error
