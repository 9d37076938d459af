"""What lets a stopped cross-validation go on: predictions on disk, and the settings that they were made with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..votes import distributions_to_matrix

__all__ = ["backbone_stamp", "data_stamp", "is_done", "learning_settings", "read_predictions", "write_json"]

# Arguments that change what is shown or how fast it is, not what is learnt.
NOT_LEARNT = (
    "output_dir",
    "run_name",
    "report_to",
    "disable_tqdm",
    "resume_from_checkpoint",
    "hub_token",
    "push_to_hub",
)
NOT_LEARNT_PREFIXES = ("logging_", "log_", "dataloader_", "hub_")


def learning_settings(recipe: Any, args: Any) -> dict[str, Any]:
    """What of a recipe and its training arguments decides what is learnt, flat.

    The backbone stands in it as a Hub id, or as a digest of a local folder's files by name, size and time.
    """
    learnt = {
        key: value
        for key, value in args.to_dict().items()
        if key not in NOT_LEARNT and not key.startswith(NOT_LEARNT_PREFIXES)
    }
    about_recipe = {f"recipe.{key}": value for key, value in vars(recipe).items() if key not in ("dataset", "backbone")}
    return {**learnt, **about_recipe, "backbone": backbone_stamp(recipe.backbone)}


def backbone_stamp(name_or_path: str) -> str:
    """A Hub id as it is; for a local folder a digest of its files' names, sizes and times, which change when it is written anew.

    Example:
        >>> backbone_stamp("Qwen/Qwen2-Audio-7B-Instruct")
        'Qwen/Qwen2-Audio-7B-Instruct'
    """
    folder = Path(name_or_path)
    if not folder.is_dir():
        return name_or_path
    files = sorted(path for path in folder.iterdir() if path.is_file())
    about = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def data_stamp(
    ids: Sequence[str], emotions: Sequence[str], matrices: Sequence[np.ndarray], folds: Sequence[np.ndarray]
) -> dict[str, str]:
    """Digests of the rows with their targets, and of the folds (indices of each one's rows).

    Example:
        >>> sorted(data_stamp(["a"], ["angry", "sad"], [np.ones((1, 2))], [np.array([0])]))
        ['data', 'folds']
    """
    digest = hashlib.sha256(json.dumps([list(emotions), list(ids)]).encode())
    for matrix in matrices:
        digest.update(np.ascontiguousarray(matrix, dtype="<f8").tobytes())
    cut = hashlib.sha256(json.dumps([test.tolist() for test in folds]).encode())
    return {"data": digest.hexdigest(), "folds": cut.hexdigest()}


def is_done(file: Path, about: Path, settings: dict[str, Any]) -> bool:
    """Whether predictions are there that were made with these settings; those of others are refused.

    Options that are off, and that one of the two versions does not have, do not count as other settings.

    Raises:
        ValueError: the predictions were made with other settings; it names those.
    """
    if not (file.is_file() and about.is_file()):
        return False
    before = json.loads(about.read_text(encoding="utf-8"))["settings"]
    now = json.loads(json.dumps(settings, default=str))
    changed = sorted(
        key
        for key in before.keys() | now.keys()
        if before.get(key) != now.get(key)
        and ((key in before and key in now) or {**before, **now}[key] not in (None, False, 0, 0.0, "", [], {}))
    )
    if changed:
        raise ValueError(
            f"{file.parent} holds predictions of a run with other settings ({', '.join(changed)}). Mend: add --overwrite to train "
            "again, or choose another --output_dir."
        )
    return True


def read_predictions(file: str | Path, ids: Sequence[str], emotions: Sequence[str]) -> np.ndarray:
    """The predicted distributions (N, K) in a Parquet file that `write_predictions` wrote.

    Raises:
        ValueError: the file holds other rows than `ids`.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(file, columns=["id", "predicted_distribution"])
    if table["id"].to_pylist() != list(ids):
        raise ValueError(
            f"{file} holds other rows than this run has. Mend: add --overwrite, or choose another --output_dir."
        )
    return distributions_to_matrix(
        table["predicted_distribution"], emotions, ids=ids, column_name="predicted_distribution"
    )


def write_json(path: str | Path, content: dict[str, Any]) -> None:
    """Writes JSON so that the file appears complete or not at all; folders are made if needed."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
    part.replace(target)
