"""Scoring a checkpoint on a split of a data set: scores, predictions and plots on disk."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..audio.check import check_audio
from ..data.loading import DatasetLoadError, emotions_of
from ..data.opened import OpenedDataset, open_dataset
from ..data.output import check_file, claimed_file, output_file, output_files
from ..data.rows import column_of, row_ids
from ..data.targets import scored_matrix, training_targets
from ..scores.temperature import at_temperature
from .groups import check_groups, groups_markdown, scores_by_group
from .plots import GROUP_PLOT, group_plot, write_plots
from .scoring import Bootstrap, EvaluationReport, evaluate_distributions
from .temperature import temperature_markdown, temperature_report

logger = logging.getLogger(__name__)


def evaluate_checkpoint(
    model: str | Path,
    dataset: str | Path,
    split: str = "test",
    output: str | Path | None = None,
    *,
    train_split: str | None = "train",
    batch_size: int = 8,
    device: str | None = None,
    long_audio: str | None = None,
    score_column: str = "human_distribution",
    by: Sequence[str] = (),
    apply_temperature: bool = False,
    limit: int | None = None,
    vote_source: str | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
    overwrite: bool = False,
    progress: bool = True,
) -> EvaluationReport:
    """Score a checkpoint's predictions of a split, next to the uniform and the mean-of-training-targets predictors.

    Everything that can be wrong with the data, every clip included, is found before the first prediction.

    Args:
        model: Checkpoint, full or adapter: a local folder or a Hub id.
        dataset: Local Parquet folder or Hub id.
        split: What is scored.
        output: `*.json`; beside it are written the same name with `.md`, `predictions.parquet`, `reliability.png` and
            `predicted_against_target.png`, and with `by` `by_group.png`: one set, where the JSON file is, the others
            are its own. `None` writes nothing.
        train_split: Whose `emotion_distribution` gives the mean predictor; where it is missing that predictor is left
            out, with a note.
        batch_size: Clips a forward pass.
        device: Such as `cuda` or `cpu`; the default is a GPU where there is one.
        long_audio: What to do beyond 30 s (`error`, `truncate`, `window`); the default is the checkpoint's own setting.
        score_column: The distribution column that is scored against.
        by: Columns such as `gender`, `language`, `corpus`: scores for each of their groups, with intervals over
            speakers, and the gap between the best and the worst.
        apply_temperature: Score the distributions at the temperature that is kept with the checkpoint. Without it the
            scores are those of the distributions as predicted, so that they can be compared with other models'; what
            the temperature does to them is reported in any case.
        limit: Score only the first so many rows, with a note.
        vote_source: Where the votes come from; the default is what the data set's card says.
        seed: Of the bootstrap.
        num_resamples: Bootstrap resamples, at least 1.
        overwrite: Replace scores, predictions and plots that are there.
        progress: Show progress bars.

    Returns:
        The report.

    Raises:
        DatasetLoadError: Nothing is at `dataset`, or it has no such split; the message lists those it has.
        OSError: No checkpoint can be loaded.
        ValueError: The emotions of model and data differ, the score column is missing or no distribution, rows are
            mixtures, a column of `by` is missing, or there is no temperature to apply or it was fitted on these
            speakers.
        AudioError: Listing every clip that cannot be used.
        FileExistsError: A file that would be written is there, and `overwrite` is false.
        BlockingIOError: Another run is writing it.

    Example:
        >>> evaluate_checkpoint("runs/mini", "data/mine", output="runs/mini/scores.json")  # doctest: +SKIP
    """
    from ..modeling.calibration import calibration_of, fitted_on, temperature_of
    from ..modeling.prediction import predict_distributions
    from ..modeling.text_lengths import check_row_lengths

    if output is not None and Path(output).suffix != ".json":
        raise ValueError(
            f"output={str(output)!r} does not end in .json. Mend: name a JSON file; tables and plots are written "
            "beside it."
        )
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit} leaves no rows. Mend: leave it out to score all of them.")
    with contextlib.ExitStack() as stack:
        file = None if output is None else stack.enter_context(_held(Path(output), overwrite))
        Bootstrap(num_resamples, seed)  # what is wrong with it is said before the first prediction
        opened = open_dataset(dataset, vote_source=vote_source)
        rows = opened.rows(split)
        notes = []
        if limit is not None and limit < len(rows):
            notes.append(f"only the first {limit} of {len(rows)} rows")
            rows = rows.select(range(limit))
        emotions = emotions_of(rows, score_column)
        references = scored_matrix(rows, emotions, score_column)
        check_groups(rows, by)
        targets, about_training = _training_targets(opened, train_split, split, rows, emotions)
        notes += about_training

        network, processor = open_model(model, device)
        check_label_set(model, network.config.emotions, opened.name, score_column, emotions)
        calibration = calibration_of(network)
        temperature = temperature_of(network) if apply_temperature else 1.0
        if apply_temperature:
            shared = fitted_on(calibration or {}, rows)
            if shared:
                raise ValueError(
                    f"the temperature was fitted on the votes of {shared} speakers of split {split!r}, which would be "
                    "scored with it. Mend: score a split of other speakers, or leave apply_temperature out."
                )
            notes.append(f"at the temperature {temperature:.3f}, fitted on other speakers' votes")
        if long_audio is not None:
            processor.long_audio = long_audio
        check_row_lengths(processor, rows, batch_size)
        check_audio(rows, long_audio=processor.long_audio, progress=progress).raise_if_any()
        predicted = predict_distributions(network, processor, rows, batch_size=batch_size, progress=progress)
        predicted = predicted[:, [network.config.emotions.index(emotion) for emotion in emotions]]
        as_predicted = predicted
        if apply_temperature:
            predicted = at_temperature(predicted, temperature)
        report = evaluate_distributions(
            predicted,
            rows,
            emotions,
            train_targets=targets,
            score_column=score_column,
            seed=seed,
            num_resamples=num_resamples,
            split=split,
            vote_source=opened.vote_source,
            notes=notes,
        )
        report.settings.update({"model": str(model), "dataset": opened.name, "long_audio": processor.long_audio})
        how: dict[str, Any] = {"score_column": score_column, "seed": seed, "num_resamples": num_resamples}
        if calibration is not None:
            report.temperature = temperature_report(
                as_predicted, rows, emotions, calibration, applied=apply_temperature, **how
            )
        report.more_markdown.append(temperature_markdown(report.temperature))
        if by:
            report.by = scores_by_group(predicted, rows, emotions, by, train_targets=targets, **how)
            report.more_markdown.append(groups_markdown(report.by))
        if file is not None:
            with output_files(file, overwrite, gone=[GROUP_PLOT]) as part:
                report.save(part, file.stem)
                columns: dict[str, Any] = {"predicted_distribution": predicted, score_column: references}
                columns["js_divergence"] = report.js_divergence
                if report.js_divergence_to_truth is not None:
                    columns["true_distribution"] = scored_matrix(rows, emotions, "true_distribution")
                    columns["js_divergence_to_truth"] = report.js_divergence_to_truth
                write_predictions(part / "predictions.parquet", rows, emotions, columns)
                write_plots(predicted, references, emotions, part, split, report.notes)
                if by:
                    group_plot(report.by, part / GROUP_PLOT, split=split, notes=report.notes)
            logger.info("wrote scores, predictions and plots to %s", file.parent)
        return report


@contextlib.contextmanager
def _held(output: Path, overwrite: bool) -> Iterator[Path]:
    """Hold the scores' file, where nothing is in the way of those beside it."""
    for name in (f"{output.stem}.md", "predictions.parquet", "reliability.png", "predicted_against_target.png"):
        check_file(output.expanduser().with_name(name), overwrite)
    with claimed_file(output, overwrite) as file:
        yield file


def check_label_set(model: str | Path, answers: Sequence[str], data: str, column: str, emotions: Sequence[str]) -> None:
    """Refuse data over other emotions than the model's."""
    if set(answers) != set(emotions):
        raise ValueError(
            f"the model {str(model)!r} answers with {', '.join(answers)}, and {column!r} of {data!r} is over "
            f"{', '.join(emotions)}. Mend: score it on data with its own emotions (combine_votes with emotions=[...] "
            "and outside='drop' makes such a column), or train on these."
        )


def open_model(model: str | Path, device: str | None = None) -> tuple[Any, Any]:
    """Open a checkpoint and its processor on the device named, else on a GPU where there is one, else on the CPU.

    Raises:
        OSError: Nothing can be loaded, or weights are missing.
        ValueError: The device is not there.
    """
    import torch

    from ..hub.load import load_emotion_model

    try:
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ValueError(f"device {device!r} is not known. Mend: use cpu, or cuda where there is a GPU.") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} is not there: this machine or this torch has no CUDA. Mend: use cpu.")
    try:
        network, processor = load_emotion_model(str(model))
    except RuntimeError as error:  # transformers raises it for weights of other shapes
        raise OSError(str(error)) from error
    if place.type != "cpu":
        network = network.to(place)
    return network, processor


def write_predictions(
    path: str | Path, rows: Any, emotions: Sequence[str], columns: Mapping[str, np.ndarray | Sequence[Any]]
) -> Path:
    """Write one row an utterance to Parquet: `id`, `speaker`, and the columns; (N, K) becomes a struct of K floats.

    The file appears complete or not at all; its folder is made if needed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    floats = pa.struct([(emotion, pa.float64()) for emotion in emotions])
    speakers = column_of(rows, "speaker") or [None] * len(rows)
    data = {
        "id": pa.array(row_ids(rows), pa.string()),
        "speaker": pa.array([None if speaker is None else str(speaker) for speaker in speakers], pa.string()),
    }
    for name, values in columns.items():
        if np.ndim(values) == 2:
            shares = np.asarray(values, dtype=np.float64)
            data[name] = pa.StructArray.from_arrays([pa.array(share) for share in shares.T], fields=list(floats))
        else:
            entries = np.asarray(values)
            data[name] = pa.array(entries if entries.dtype.kind == "f" else entries.tolist())
    with output_file(path) as part:
        pq.write_table(pa.table(data), part)
    return Path(path)


def _training_targets(
    opened: OpenedDataset, train_split: str | None, split: str, rows: Any, emotions: Sequence[str]
) -> tuple[np.ndarray | None, list[str]]:
    """Targets of the training split, or a note on why there are none; and a note where speakers are in both."""
    if not train_split:
        return None, []
    if train_split == split:
        return None, [f"the split {split!r} is the training split: no scores of unseen utterances"]
    try:
        training = opened.rows(train_split)
    except DatasetLoadError as error:
        logger.warning("the mean predictor is left out: %s", error)
        return None, [f"no split {train_split!r}"]
    shared = opened.speakers(train_split) & opened.speakers(split)
    notes = [f"{len(shared)} of the speakers are also in the training split"] if shared else []
    return training_targets(training, emotions), notes
