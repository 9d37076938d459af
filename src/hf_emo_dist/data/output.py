"""The one way in which files and folders are written: whole or not at all, and by one run at a time.

A reader, a second run or a crash never meets half of a file: everything is written under a temporary name beside its
place, flushed to the disk (fsync) and renamed. What describes data is written into the same temporary folder as the
data, so that the two cannot come from different runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# A data set's folder: these, and the Parquet files in `data`, may be replaced. Everything else is somebody's work.
_REPORTS = ("preparation.json", "preparation", "combiner.json", "reading_report.json", "reading_report.txt")
_OF_A_DATASET = ("README.md", "data", ".cache", *_REPORTS)
_SHARD_NAME = re.compile(r".+-\d{5}-of-\d{5}\.parquet")


def check_folder(folder: Path, overwrite: bool, source: str | Path | None = None) -> None:
    """Refuse to write into a folder that holds anything but a data set, or one without `overwrite`.

    Args:
        folder: Where to write.
        overwrite: Whether a data set that is there may be replaced.
        source: What is read to write it: a folder, a file, or the name of what is no file.

    Raises:
        FileExistsError: The message says what is there.
        ValueError: `source` is the folder, or lies in it: it would be replaced by what is made of it.
    """
    if source is not None:
        there, place = Path(source).expanduser(), Path(folder).expanduser().resolve()
        if there.exists() and (there.resolve() == place or place in there.resolve().parents):
            raise ValueError(
                f"The output {folder} is where the source {source} lies, which would be replaced by what is made of "
                "it. Mend: choose another output folder."
            )
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file. Mend: choose another output folder.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(
            f"{folder} is not empty. Mend: choose another output folder, or pass overwrite=True (--overwrite)."
        )
    # Only a data set's own files are ever replaced: a mistyped folder must not cost anybody their work.
    data = folder / "data"
    foreign = [p.name for p in folder.iterdir() if p.name not in _OF_A_DATASET]
    if data.is_dir():
        foreign += [f"data/{p.name}" for p in data.iterdir() if not _SHARD_NAME.fullmatch(p.name)]
    if foreign or data.is_file():
        raise FileExistsError(
            f"{folder} holds files that are not of a data set ({', '.join(sorted(foreign)[:3]) or 'data'}), so it is "
            "not overwritten. Mend: choose another output folder."
        )


@contextlib.contextmanager
def output_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write; at the end of the block it becomes `path`, after an error it is removed.

    The folder is made where it does not exist. The temporary name keeps the suffix, by which plotting libraries know
    the format.
    """
    target = Path(path).expanduser()
    target.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(prefix=f".{target.stem[:100]}-", suffix=target.suffix, dir=target.parent)
    os.close(number)
    part = Path(name)
    try:
        yield part
        # mkstemp's file is its owner's alone
        part.chmod(target.stat().st_mode if target.is_file() else 0o666 & ~_umask())
        _flush(part)
        part.replace(target)
        _flush(target.parent)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file in UTF-8, whole or not at all."""
    with output_file(path) as part:
        part.write_text(text, encoding="utf-8")
    return Path(path).expanduser()


def write_json(path: str | Path, content: Any) -> Path:
    """Write JSON, whole or not at all; paths and the like become text, NaN is refused as no JSON parser need read it.

    Raises:
        ValueError: A number is NaN or infinite; an older file stays as it was.
    """
    return write_text(path, json.dumps(content, indent=2, default=str, allow_nan=False) + "\n")


def check_place(folder: Path) -> None:
    """Make the folder that `folder` will lie in, and try to write there.

    Raises:
        OSError: It cannot be made, or not be written to.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name[:100]}-"):
            pass
        for place in (folder, folder / "data"):  # what lies there is moved away, and then removed
            if place.is_dir() and not os.access(place, os.W_OK | os.X_OK):
                raise PermissionError(f"{place} is read-only")
    except OSError as error:
        raise OSError(f"{folder} cannot be written ({error}). Mend: choose another output folder.") from error


def check_space(folder: Path, least: int) -> None:
    """Refuse to begin what will not find room.

    Raises:
        OSError: The disk of `folder` has less than so many bytes left.
    """
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < least:
        raise OSError(
            f"The disk of {folder} has {free / 1e9:.2f} GB left, and what is written there takes some "
            f"{least / 1e9:.2f} GB. Mend: free some, or choose an output folder on another disk."
        )


@contextlib.contextmanager
def output_folder(folder: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder to fill; at the end of the block it becomes `folder`, after an error it is removed.

    Raises:
        FileExistsError: The folder is not empty and `overwrite` is false, or it holds files that are not of a data set.
        BlockingIOError: Another run is writing it.
    """
    target = Path(folder).expanduser().resolve()
    check_folder(target, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    with one_run(target):
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            yield part
            check_folder(target, overwrite)  # hours may have gone by
            # A plain folder's permissions, not those of mkdtemp.
            part.chmod(target.stat().st_mode if target.is_dir() else 0o777 & ~_umask())
            for path in part.rglob("*"):
                if path.is_file():
                    _flush(path)
            _take_place(part, target)
            _flush(target.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _take_place(part: Path, target: Path) -> None:
    if not target.exists():
        part.rename(target)
        return
    # Two renames, since no portable call swaps two folders: in the worst moment the old data set lies whole beside its
    # place.
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-replaced-", dir=target.parent))
    target.rename(old / target.name)
    try:
        part.rename(target)
    except BaseException:
        (old / target.name).rename(target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def one_run(target: str | Path) -> Iterator[None]:
    """Hold a file or folder, there or not, for this run, with a lock beside it that goes when the run ends."""
    from filelock import FileLock, Timeout

    path = Path(target).expanduser().resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise BlockingIOError(
            f"Another run is writing {path}. Mend: wait until it has ended, or choose another output."
        ) from error
    except NotImplementedError:  # a file system without locks: the renames still keep files whole
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows does not remove what is open
            os.unlink(lock.lock_file)
        lock.release()


def _umask() -> int:
    mask = os.umask(0)  # there is no call that only reads it
    os.umask(mask)
    return mask


def _flush(path: Path) -> None:
    """Fsync a file or folder, where the system can."""
    try:
        number = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(number)
    except OSError:
        pass
    finally:
        os.close(number)
