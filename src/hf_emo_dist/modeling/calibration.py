"""How sure a checkpoint's answers are: the temperature that its configuration keeps, and the predicted concentration.

The temperature lies in the configuration (`calibration`), so that full, merged and adapter checkpoints carry it along
wherever they go. It is applied only where somebody asks: it was fitted on the votes of one data set's listeners and
need not hold for others, what makes votes likely can be worse by another score, and figures with and without it must
not be mixed up.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._checkpoint_files import ADAPTER_CONFIG_NAME, CONFIG_NAME, PEFT_CONFIG_NAME, is_adapter
from ..data.intact import read_json
from ..data.output import write_text
from ..data.rows import column_of, row_ids, speaker_groups
from ..markdown import last_part
from ..scores.classes import expected_calibration_error
from ..scores.temperature import at_temperature, fit_temperature
from ..votes import vote_counts_matrix
from .whole_files import MEND, refresh_digest

_FITTED_ON = "fitted_on"  # the key of the digests of those whose votes it was fitted on


def fit_calibration(
    predictions: np.ndarray,
    rows: Any,
    emotions: Sequence[str],
    *,
    dataset: str | None = None,
    split: str | None = None,
    notes: Iterable[str] = (),
) -> dict[str, Any]:
    """Fit a temperature on the human votes of rows, and say on whose.

    Args:
        predictions: (N, K) distributions of the rows, at temperature 1.
        rows: N rows with `human_votes`, of speakers that the model has not been trained on.
        emotions: The columns of the predictions.
        dataset: Folder or Hub id of the data set.
        split: Which of its splits the rows are.
        notes: What a reader must know of the votes, such as `borrowed votes`.

    Returns:
        For `config.calibration` and for JSON: `temperature`; `rows`, `votes` and `speakers` that it was fitted on;
        `log_likelihood_per_vote` and `expected_calibration_error`, each before and after; and digests of the speakers.

    Raises:
        ValueError: There is no column `human_votes`, or too few rows have votes; see `scores.fit_temperature`.

    Example:
        >>> rows = [{"id": str(i), "speaker": "s", "human_votes": ["sad", "sad", "angry"]} for i in range(30)]
        >>> found = fit_calibration(np.array([[0.1, 0.9]] * 30), rows, ["angry", "sad"], split="validation")
        >>> round(found["temperature"], 2), found["votes"]
        (3.17, 90.0)
    """
    votes = column_of(rows, "human_votes")
    if votes is None:
        raise ValueError(
            "There is no column 'human_votes', and a temperature is fitted on votes. Mend: add it, or leave the "
            "temperature out."
        )
    counts = vote_counts_matrix(votes, emotions, column_of(rows, "human_vote_weights"), row_ids(rows), outside="drop")
    fit = fit_temperature(predictions, counts)
    heard = counts.sum(axis=1) > 0
    shares = counts[heard] / counts[heard].sum(axis=1, keepdims=True)
    after = at_temperature(predictions[heard], fit.temperature)
    members, known = speaker_groups(rows)
    told = list(notes)
    if fit.at_bound:
        told.append("the best temperature lies beyond the bounds: these predictions say little about these votes")
    if known and len(set(members[heard])) == 1:
        told.append("fitted on one speaker")
    where = last_part(dataset) if dataset and Path(dataset).exists() else dataset
    return {
        "temperature": fit.temperature,
        "dataset": where or None,
        "split": split,
        "rows": fit.rows,
        "votes": fit.votes,
        "speakers": len(set(members[heard])) if known else None,
        "log_likelihood_per_vote": {"before": fit.log_likelihood_before, "after": fit.log_likelihood_after},
        "expected_calibration_error": {
            "before": expected_calibration_error(predictions[heard], shares),
            "after": expected_calibration_error(after, shares),
        },
        "notes": list(dict.fromkeys(told)),
        _FITTED_ON: " ".join(sorted(set(_digests(rows)[heard]))),
    }


def fitted_on(calibration: dict[str, Any], rows: Any) -> int:
    """Count the speakers among these rows (the rows, where speakers are not known) that it was fitted on."""
    return len(set(str(calibration.get(_FITTED_ON) or "").split()) & set(_digests(rows)))


def notes_words(calibration: dict[str, Any]) -> str:
    """What a reader of the temperature must know, in brackets after the number; nothing where there is nothing."""
    return f" ({'; '.join(calibration['notes'])})" if calibration.get("notes") else ""


def without_speakers(calibration: dict[str, Any]) -> dict[str, Any]:
    """The calibration for reports, without the digests."""
    return {key: value for key, value in calibration.items() if key != _FITTED_ON}


def _digests(rows: Any) -> np.ndarray:
    """A digest of each row's speaker (its id without speakers) and corpus, since many corpora have a speaker 1."""
    _, known = speaker_groups(rows)
    names = [str(name) for name in column_of(rows, "speaker") or ()] if known else row_ids(rows)
    corpora = column_of(rows, "corpus") or [None] * len(names)
    return np.array(
        [
            hashlib.sha256(f"{corpus or ''}/{name}".encode()).hexdigest()[:8]
            for corpus, name in zip(corpora, names, strict=True)
        ]
    )


def calibration_of(model: Any) -> dict[str, Any] | None:
    """The calibration of a model, or of a `PeftModel` around one; None where none was fitted.

    Raises:
        ValueError: The configuration holds something else.
    """
    network = model.get_base_model() if hasattr(model, "get_base_model") else model
    found: dict[str, Any] | None = getattr(network.config, "calibration", None)
    if found is None:
        return None
    value = found.get("temperature")
    if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
        raise ValueError(
            f"the checkpoint's calibration has the temperature {value!r}, which is none. Mend: fit it again with "
            "hf-emo-dist temperature MODEL DATASET."
        )
    return found


def temperature_of(model: Any) -> float:
    """The temperature that is to be applied.

    Raises:
        ValueError: None was fitted.
    """
    found = calibration_of(model)
    if found is None:
        raise ValueError(
            "apply_temperature needs a temperature, and none was fitted for this checkpoint. Mend: hf-emo-dist "
            "temperature MODEL DATASET --split validation, on speakers that it was not trained on; or leave it out."
        )
    return float(found["temperature"])


def check_sure(model: Any) -> None:
    """Refuse a model whose loss does not determine a concentration."""
    from .configuration import SURE_LOSSES

    network = model.get_base_model() if hasattr(model, "get_base_model") else model
    loss = network.config.loss_type
    if loss not in SURE_LOSSES:
        raise ValueError(
            f"return_concentration needs a loss that says how sure the model is, and this one was trained with "
            f"loss_type={loss!r}. Mend: train with loss_type={' or '.join(SURE_LOSSES)}, or leave it out."
        )


def store_calibration(folder: str | Path, calibration: dict[str, Any] | None) -> Path:
    """Write a calibration into a checkpoint's configuration on disk, its weights left alone, and return the file.

    Raises:
        OSError: The folder is no checkpoint.
    """
    root = Path(folder)
    file = root / (ADAPTER_CONFIG_NAME if is_adapter(root) else CONFIG_NAME)
    if not file.is_file():
        raise OSError(
            f"'{folder}' is no checkpoint: it has neither {CONFIG_NAME} nor {PEFT_CONFIG_NAME} with "
            f"{ADAPTER_CONFIG_NAME}. Mend: name the output folder of a training."
        )
    values = read_json(file, MEND)
    values["calibration"] = calibration
    written = write_text(file, json.dumps(values, indent=2, sort_keys=True) + "\n")
    refresh_digest(written)
    return written
