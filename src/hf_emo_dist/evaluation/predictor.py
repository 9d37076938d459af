"""`DistributionPredictor`: a checkpoint as a function for ``Dataset.map`` and for Ray Data's ``map_batches``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..batches import columns_of, is_table, with_added
from ..emotions import MissingColumnError

_READ = ("id", "transcript", "speaker")


class DistributionPredictor:
    """Predicts the distribution of each row; a function for ``Dataset.map``, which adds one column.

    The checkpoint is loaded at the first call, once a process, and is not pickled. For Ray Data it is a class for
    actors, one a GPU: ``ray.data.read_parquet(folder).map_batches(DistributionPredictor,
    fn_constructor_args=("you/checkpoint",), batch_format="pyarrow", batch_size=64, num_gpus=1,
    compute=ray.data.ActorPoolStrategy(size=8))``; a table comes back with the new column.

    Args:
        model: Checkpoint, full or adapter: a local folder or a Hub id.
        column: Name of the new column, a struct of float64, one field an emotion.
        batch_size: Clips a forward pass. With 1 an answer does not depend on the clips beside it, so that it is the
            same, bit for bit, however rows are shared out; with more it is faster on a GPU, and the last digits move.
        device: Such as ``cuda`` or ``cpu``. Default: a GPU where there is one.
        apply_temperature: As for `predict_distributions`.
        options: Of `load_emotion_model`, such as ``revision`` or ``dtype``.

    Raises:
        AudioError: A clip cannot be used; the message names it.
        OSError, ValueError: There is no such checkpoint, or the model answers NaN.

    Example:
        >>> ds = ds.map(DistributionPredictor("you/checkpoint"), batched=True, batch_size=64)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path,
        *,
        column: str = "predicted_distribution",
        batch_size: int = 1,
        device: str | None = None,
        apply_temperature: bool = False,
        **options: Any,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} is too small. Mend: at least 1.")
        self.model, self.column, self.batch_size, self.device = str(model), column, batch_size, device
        self.apply_temperature, self.options = apply_temperature, options
        self._loaded: tuple[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}

    def __call__(self, example_or_batch: Mapping[str, Any]) -> Any:
        """The new column of an example or a batch; of a table, the table with it."""
        if is_table(example_or_batch):
            return with_added(example_or_batch, self(columns_of(example_or_batch)))
        if "audio" not in example_or_batch:
            raise MissingColumnError(
                f"No column 'audio' among {', '.join(example_or_batch)}. Mend: name the column of clips so, with "
                "rename_column."
            )
        clips = example_or_batch["audio"]
        batched = isinstance(clips, list)
        read = {name: example_or_batch[name] for name in _READ if name in example_or_batch}
        if not batched:
            clips, read = [clips], {name: [value] for name, value in read.items()}
        rows = [{"audio": clip, **{name: read[name][i] for name in read}} for i, clip in enumerate(clips)]
        found = self._predict(rows)
        return {self.column: found if batched else found[0]}

    def _predict(self, rows: list[dict[str, Any]]) -> list[dict[str, float]]:
        from ..modeling.prediction import predict_distributions

        model, processor = self._load()
        found = predict_distributions(
            model, processor, rows, self.batch_size, progress=False, apply_temperature=self.apply_temperature
        )
        return [dict(zip(model.config.emotions, row, strict=True)) for row in found.tolist()]

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch

            from ..hub.load import load_emotion_model

            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            model, processor = load_emotion_model(self.model, device=device, **self.options)
            self._loaded = model, processor
        return self._loaded
