"""Predicting files by an engine: each worker opens the checkpoint once, and answers a few files at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from ..data.map_engine import MapEngine

_FILES = 64


class _Files:
    """What the pipeline answers to a batch of files, as JSON."""

    def __init__(self, open_pipe: Callable[[], Any], options: Mapping[str, Any], batch_size: int) -> None:
        self.open_pipe, self.options, self.batch_size = open_pipe, options, batch_size
        self._pipe: Any = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self._pipe is None:
            self._pipe = self.open_pipe()
        found = [json.dumps(answer) for answer in self._pipe(batch["file"], batch_size=self.batch_size, **self.options)]
        return {"answer": found, "emotions": [list(self._pipe.model.config.emotions)] * len(found)}


def results_of(
    engine: MapEngine, names: Sequence[str], open_pipe: Callable[[], Any], options: Mapping[str, Any], batch_size: int
) -> tuple[list[str], Iterator[dict[str, Any]]]:
    """The emotions of the checkpoint, and what its pipeline answers to each file, in their order.

    Args:
        engine: Whose workers can read the files.
        names: The files.
        open_pipe: Makes the pipeline; can be pickled.
        options: Of its call.
        batch_size: Windows a forward pass.
    """
    from datasets import Dataset, Features, List, Value

    features = Features({"answer": Value("string"), "emotions": List(Value("string"))})
    work = _Files(open_pipe, options, batch_size)
    tables = engine.map(Dataset.from_dict({"file": list(names)}), work, features, _FILES, "predict", gpus=1)
    first = next(tables)
    answers = (json.loads(text) for table in chain([first], tables) for text in table["answer"].to_pylist())
    return first["emotions"][0].as_py(), answers
