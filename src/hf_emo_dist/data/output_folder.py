"""The folder that a data set is written to: what may be replaced in it, and what never is."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["check_folder"]

# What is read into a folder, prepared and plotted there belongs to its data set too.
_OWN_NAMES = (
    "README.md",
    "data",
    ".cache",
    "preparation.json",
    "preparation",
    "reading_report.json",
    "reading_report.txt",
)
_SHARD_NAME = re.compile(r".+-\d{5}-of-\d{5}\.parquet")


def check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse to write into a folder that holds anything but a data set, or one without `overwrite`.

    Raises:
        FileExistsError: The message says what is there.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file. Mend: choose another output folder.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(f"{folder} is not empty. Mend: choose another output folder, or pass overwrite=True.")
    # Only a data set's own files are ever replaced: a mistyped folder must not cost anybody their work.
    data = folder / "data"
    foreign = [p.name for p in folder.iterdir() if p.name not in _OWN_NAMES]
    if data.is_dir():
        foreign += [f"data/{p.name}" for p in data.iterdir() if not _SHARD_NAME.fullmatch(p.name)]
    if foreign or data.is_file():
        raise FileExistsError(
            f"{folder} holds files that are not of a data set ({', '.join(sorted(foreign)[:3]) or 'data'}), so it is "
            "not overwritten. Mend: choose another output folder."
        )
