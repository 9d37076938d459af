"""Tables as text, and the clips that they name, for the tests of the table reader."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hf_emo_dist.audio.clips import encode_wav
from hf_emo_dist.corpora.table.read import understand_table


def clips(folder: Path, names=("a.wav", "b.wav", "c.wav")) -> Path:
    """A folder of clips of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in names:
        wave = rng.uniform(-0.1, 0.1, 1600).astype(np.float32)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_wav(wave, 16000))
    return folder


def written(folder: Path, content, name="votes.csv") -> Path:
    """A table of text, of bytes, or of rows, which become JSON Lines or Parquet by the name."""
    path = folder / name
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(content if isinstance(content, pa.Table) else pa.Table.from_pylist(content), path)
    elif name.endswith(".xlsx"):
        import openpyxl

        book = openpyxl.Workbook()
        sheets = content if isinstance(content, dict) else {"Sheet": content}
        book.remove(book.active)
        for title, rows in sheets.items():
            sheet = book.create_sheet(title)
            for row in rows:
                sheet.append(row)
        book.save(path)
    elif name.endswith(".json"):
        path.write_text(json.dumps(content), encoding="utf-8")
    else:
        path.write_text("\n".join(map(json.dumps, content)), encoding="utf-8")
    return path


def understood(folder: Path, content, name="votes.csv", **options):
    """What is understood of a table beside the three clips."""
    return understand_table(written(folder, content, name), clips(folder / "audio"), **options)


def heard(reading) -> dict[str, dict[str, float]]:
    """Clip → emotion → votes."""
    found = {}
    for place in reading.used:
        clip = reading.votes.clips[place]
        votes: dict[str, float] = {}
        for label, weight in zip(clip.labels, clip.weights, strict=True):
            votes[label] = round(votes.get(label, 0.0) + weight, 5)
        found[reading.ids[place]] = votes
    return found
