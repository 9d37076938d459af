"""The one way in which files and folders are written: whole or not at all, and by one run at a time.

A reader, a second run or a crash never meets half of a file: everything is written under a hidden name beside its
place, flushed to the disk (fsync) and renamed. What describes data is written into the same hidden folder as the data,
so that the two cannot come from different runs. A command holds its output from before the work until it is written
(`claimed`, `claimed_file`): a second run is told at once. What a run that was killed has left is put right or removed
by whoever holds the same output next: hidden names are ``.NAME.ROLE-xxxxxxxx``, of these roles:

- ``part``: a file or folder that was being made. It is removed.
- ``work``: a folder for what is needed on the way. It is removed.
- ``old``: a folder that was being replaced. It gets its name back where nothing else has it, else it is removed.
- ``ready``: files that belong together, complete and on their way to their places. The rest follows.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from .full_disk import FULL, disk_told

try:
    import fcntl
except ImportError:  # Windows: parts of a killed run stay
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True)
class FolderKind:
    """What a folder of ours holds, and so may be replaced: a mistyped name must not cost anybody their work.

    Attributes:
        what: Such as ``a data set``.
        names: Patterns of what lies in it; of a folder inside, with a slash, of what lies in that one.

    Example:
        >>> FolderKind("a model", ("*.json", "data/*.txt")).what
        'a model'
    """

    what: str
    names: tuple[str, ...]

    def foreign(self, folder: Path) -> list[str]:
        """What lies there and is not of this kind."""
        found = []
        for path in folder.iterdir():
            inside = [name.partition("/")[2] for name in self.names if name.startswith(f"{path.name}/")]
            if inside and path.is_dir():
                found += [
                    f"{path.name}/{inner.name}"
                    for inner in path.iterdir()
                    if not any(fnmatchcase(inner.name, pattern) for pattern in inside)
                ]
            elif not any(fnmatchcase(path.name, pattern) for pattern in self.names if "/" not in pattern):
                found.append(path.name)
        return sorted(found)


DATASET = FolderKind(
    "a data set",
    (
        *("README.md", ".cache", "preparation.json", "preparation", "combiner.json"),
        *("reading_report.json", "reading_report.txt"),
        f"data/*-{'[0-9]' * 5}-of-{'[0-9]' * 5}.parquet",
    ),
)
#: A model's folder: weights, configuration, tokenizer, and a program made of it.
MODEL = FolderKind(
    "a model",
    ("README.md", "*.json", "*.safetensors", "*.jinja", "merges.txt", "vocab.txt", "model.pt2", "model.onnx*"),
)
_ROLES = ("part", "work", "old", "ready")
_MANIFEST = ".set.json"  # in a `ready` folder: the file that goes last, and those that go away


class OutputTakenError(BlockingIOError):
    """Another run is writing there."""


# --- what may be written


def check_folder(
    folder: Path, overwrite: bool, source: str | Path | Sequence[str] | None = None, kind: FolderKind = DATASET
) -> None:
    """Refuse to write into a folder that holds anything but what is ours, or one without `overwrite`.

    Args:
        folder: Where to write.
        overwrite: Whether what is there may be replaced.
        source: What is read to write it: folders, files, or names of what is no file.
        kind: What is written.

    Raises:
        FileExistsError: The message says what is there.
        ValueError: `source` is the folder, or lies in it: it would be replaced by what is made of it.
    """
    for one in [source] if isinstance(source, str | Path) else source or ():
        there, place = Path(one).expanduser(), Path(folder).expanduser().resolve()
        if there.exists() and (there.resolve() == place or place in there.resolve().parents):
            raise ValueError(
                f"The output {folder} is where the source {one} lies, which would be replaced by what is made of "
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
    foreign = kind.foreign(folder)
    if foreign:
        raise FileExistsError(
            f"{folder} holds files that are not of {kind.what} ({', '.join(foreign[:3])}), so it is not overwritten. "
            "Mend: choose another output folder."
        )


def check_file(path: Path, overwrite: bool) -> None:
    """Refuse to replace a file without `overwrite`.

    Raises:
        FileExistsError: It is there, or is a folder.
    """
    if path.is_dir():
        raise FileExistsError(f"{path} is a folder. Mend: name a file in it.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already. Mend: another name, or --overwrite (overwrite=True).")


def check_place(folder: Path) -> None:
    """Make the folder that `folder` will lie in, and try to write there.

    Raises:
        OSError: It cannot be made, or not be written to.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=_prefix(folder, "work")):
            pass
        for place in (folder, folder / "data"):  # what lies there is moved away, and then removed
            if place.is_dir() and not os.access(place, os.W_OK | os.X_OK):
                raise PermissionError(f"{place} is read-only")
    except OSError as error:
        raise OSError(f"{folder} cannot be written ({error}). Mend: choose another output folder.") from error


# --- an output held by a run


@contextlib.contextmanager
def claimed(
    folder: str | Path,
    overwrite: bool = False,
    *,
    source: str | Path | Sequence[str] | None = None,
    kind: FolderKind = DATASET,
) -> Iterator[Path]:
    """Hold an output folder from before the work until it is written, so that a second run is told at once.

    Args:
        folder: Where to write.
        overwrite: Whether what is there may be replaced.
        source: What is read to write it, see `check_folder`.
        kind: What is written.

    Returns:
        A context that gives the folder's path. Inside, `output_folder` writes it, and `working_folder` gives room.

    Raises:
        FileExistsError, ValueError: See `check_folder`.
        BlockingIOError: Another run is writing it.
        OSError: It cannot be written, or the disk is full: the message says which.

    Example:
        >>> with tempfile.TemporaryDirectory() as root, claimed(root + "/mine") as folder:
        ...     with output_folder(folder) as part:
        ...         _ = (part / "README.md").write_text("all of it")
        ...     sorted(path.name for path in folder.iterdir())
        ['README.md']
    """
    target = Path(folder).expanduser().resolve()
    check_folder(target, overwrite, source, kind)
    check_place(target)
    with one_run(target), disk_told(_seen(target)):
        check_folder(target, overwrite, source, kind)  # a run that was killed may have left the old one aside
        yield target


@contextlib.contextmanager
def claimed_file(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Hold an output file from before the work until it is written, as `claimed` does a folder.

    Raises:
        FileExistsError: The file is there and `overwrite` is false, or it is a folder.
        BlockingIOError: Another run is writing it.
        OSError: It cannot be written, or the disk is full: the message says which.
    """
    target = Path(path).expanduser()
    target = target.parent.resolve() / target.name  # a link is replaced, and not what it points to
    check_file(target, overwrite)
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        check_place(target)
        with one_run(target), disk_told(_seen(target)):
            check_file(target, overwrite)
            yield target
    except BaseException:
        for folder in made:  # where nothing came of it, nothing is left of it
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


_HELD: dict[tuple[Path, int], int] = {}  # by path and thread, how often it is held


@contextlib.contextmanager
def one_run(target: str | Path) -> Iterator[None]:
    """Hold a file or folder, there or not, for this run, with a lock beside it that goes when the run ends.

    Whoever holds it already in the same thread may do so again. What a killed run has left is put right first.

    Raises:
        BlockingIOError: Another run is writing it.
    """
    from filelock import FileLock, Timeout

    path = Path(target).expanduser()
    path = path.parent.resolve() / path.name if not path.is_dir() else path.resolve()
    key = (path, threading.get_ident())
    if key in _HELD:
        _HELD[key] += 1
        try:
            yield
        finally:
            _HELD[key] -= 1
        return
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise OutputTakenError(
            f"Another run is writing {path}. Mend: wait until it has ended, or choose another output."
        ) from error
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        raise OSError(f"{path} cannot be written ({error.strerror}). Mend: choose another output.") from error
    except NotImplementedError:  # a file system without locks: the renames still keep files whole
        yield
        return
    _HELD[key] = 1
    try:
        _put_right(path)
        yield
    finally:
        del _HELD[key]
        with contextlib.suppress(OSError):  # Windows does not remove what is open
            os.unlink(lock.lock_file)
        lock.release()


def put_right(target: str | Path) -> None:
    """Put right what a killed run has left of an output, for who wants to read it; nothing while a run holds it."""
    path = Path(target).expanduser()
    if path.parent.is_dir() and any(_hidden(path, ("old", "ready"))):
        with contextlib.suppress(BlockingIOError, OSError), one_run(path):
            pass


def _put_right(path: Path) -> None:
    """With the lock held: what a run that was killed had put aside gets its name, and its hidden parts are removed."""
    for left in sorted(_hidden(path, _ROLES), key=lambda left: left.stat().st_mtime, reverse=True):
        role = left.name[len(path.name[:100]) + 2 :].partition("-")[0]
        if role == "ready":
            _move_set(left)
        elif role == "old" and not path.exists():
            left.rename(path)
        elif left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            _remove_dead(left)


def _seen(path: Path) -> Path:
    """An output's path, or where it lies in a hidden folder of another's, that one's: which the user knows."""
    for place, name in enumerate(path.parts):
        found = re.fullmatch(rf"\.(.+)\.(?:{'|'.join(_ROLES)})-[a-z0-9_]{{8}}", name)
        if found:
            return Path(*path.parts[:place], found[1])
    return path


def _prefix(path: Path, role: str) -> str:
    return f".{path.name[:100]}.{role}-"


def _hidden(path: Path, roles: Sequence[str]) -> Iterator[Path]:
    """What lies beside an output under its hidden names."""
    wanted = re.compile(re.escape(f".{path.name[:100]}.") + f"(?:{'|'.join(roles)})-[a-z0-9_]{{8}}(?:\\.[^.]*)?")
    with contextlib.suppress(OSError):
        yield from [path.with_name(name) for name in os.listdir(path.parent) if wanted.fullmatch(name)]


# --- files


@contextlib.contextmanager
def output_file(path: str | Path, private: bool = False) -> Iterator[Path]:
    """Give a temporary path to write; at the end of the block it becomes `path`, after an error it is removed.

    The folder is made where it does not exist. The temporary name keeps the suffix, by which plotting libraries know
    the format.

    Args:
        path: The file.
        private: Whether it is for its owner alone.

    Raises:
        OSError: The disk is full; the message says which.
    """
    target = Path(path).expanduser()
    with disk_told(_seen(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in _hidden(target, ("part",)):
            _remove_dead(left)
        held, part = _new_part(target)
        try:
            yield part
            # mkstemp's file is its owner's alone
            usual = target.stat().st_mode if target.is_file() else 0o666 & ~_umask()
            part.chmod(0o600 if private else usual)
            to_disk(part)
            part.replace(target)
            to_disk(target.parent)
        finally:
            part.unlink(missing_ok=True)
            held.close()


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file in UTF-8, whole or not at all.

    What cannot be said in UTF-8, such as the name of a file in another encoding, is written as ``\\udc..``, which is
    how JSON says it.
    """
    with output_file(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
    return Path(path).expanduser()


def write_json(path: str | Path, content: Any) -> Path:
    """Write JSON, whole or not at all; paths and the like become text, NaN is refused as no JSON parser need read it.

    Raises:
        ValueError: A number is NaN or infinite; an older file stays as it was.
    """
    return write_text(path, json.dumps(content, indent=2, default=str, allow_nan=False) + "\n")


def _new_part(target: Path) -> tuple[IO[bytes], Path]:
    """An empty file beside a target, and the handle whose lock says that its owner is alive."""
    while True:
        number, name = tempfile.mkstemp(prefix=_prefix(target, "part"), suffix=target.suffix, dir=target.parent)
        held = os.fdopen(number, "rb")
        _try_lock(held)
        if os.path.exists(name):  # somebody who swept may have come between
            return held, Path(name)
        held.close()


def _try_lock(file: IO[bytes]) -> bool:
    """Lock an open file until it is closed, or its process ends; False where somebody has, or nobody can."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_dead(part: Path) -> None:
    """Remove the hidden file of a process that is gone."""
    with contextlib.suppress(OSError), part.open("r+b") as file:
        if _try_lock(file):
            part.unlink(missing_ok=True)


def check_space(folder: Path, least: int) -> None:
    """Refuse to begin what will not find room.

    Raises:
        OSError: The disk of `folder` has less than so many bytes left.
    """
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < least:
        raise OSError(
            f"The disk of {folder} has {free / 1e6:,.1f} MB left, and what is written there takes some "
            f"{least / 1e6:,.1f} MB. Mend: free some, or choose an output folder on another disk."
        )


@contextlib.contextmanager
def output_files(
    main: str | Path, overwrite: bool = False, gone: Sequence[str] = (), private: bool = False
) -> Iterator[Path]:
    """Give a temporary folder; at the end of the block the files in it come into the folder of `main`, as one set.

    They are complete before the first of them is moved. `main` is removed before and comes last, so that where it is,
    the others are its own; a run that is killed in between leaves the set aside, and the next one, or who reads it,
    moves the rest.

    Args:
        main: The file by which the set is known, such as ``scores.json``.
        overwrite: Whether files that are there may be replaced.
        gone: Names of files that an older set may have had, and that must not stay beside this one.
        private: Whether the files are for their owner alone.

    Raises:
        FileExistsError: One of them is there and `overwrite` is false.
        BlockingIOError: Another run is writing it.
    """
    target = Path(main).expanduser()
    with one_run(target), disk_told(_seen(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=_prefix(target, "part"), dir=target.parent))
        try:
            yield part
            names = sorted(path.name for path in part.iterdir())
            for name in names:
                check_file(target.parent / name, overwrite)
                (part / name).chmod(0o600 if private else 0o666 & ~_umask())
            away = [name for name in gone if name not in names] if overwrite else []
            (part / _MANIFEST).write_text(json.dumps({"main": target.name, "gone": away}))
            _flush_all(part)
            part = part.rename(part.with_name(f"{_prefix(target, 'ready')}{secrets.token_hex(4)}"))
            to_disk(target.parent)
            _move_set(part)
        finally:
            if not part.name.startswith(_prefix(target, "ready")):  # else the next run moves the rest
                shutil.rmtree(part, ignore_errors=True)


def _move_set(ready: Path) -> None:
    """Move a complete set of files to their places; begun again, it goes on."""
    manifest = ready / _MANIFEST
    if manifest.is_file():
        about = json.loads(manifest.read_text())
        names = {path.name for path in ready.iterdir()} - {_MANIFEST}
        for name in [about["main"], *about["gone"]] if about["main"] in names else about["gone"]:
            ready.with_name(name).unlink(missing_ok=True)
        for name in sorted(names, key=lambda name: name == about["main"]):
            (ready / name).replace(ready.with_name(name))
        to_disk(ready.parent)
    shutil.rmtree(ready, ignore_errors=True)


# --- folders


@contextlib.contextmanager
def output_folder(folder: str | Path, overwrite: bool = False, kind: FolderKind = DATASET) -> Iterator[Path]:
    """Give a temporary folder to fill; at the end of the block it becomes `folder`, after an error it is removed.

    A folder that is there keeps its name until the new one takes it: in one step where the system can swap two names
    (Linux), else in two, between which a run that is killed leaves the old one aside, and the next puts it back.

    Raises:
        FileExistsError: The folder is not empty and `overwrite` is false, or it holds files that are not of this kind.
        BlockingIOError: Another run is writing it.
        OSError: The disk is full; the message says which.
    """
    target = Path(folder).expanduser().resolve()
    check_folder(target, overwrite, kind=kind)
    with one_run(target), disk_told(_seen(target)):
        part = Path(tempfile.mkdtemp(prefix=_prefix(target, "part"), dir=target.parent))
        try:
            yield part
            check_folder(target, overwrite, kind=kind)  # hours may have gone by
            # A plain folder's permissions, not those of mkdtemp.
            part.chmod(target.stat().st_mode if target.is_dir() else 0o777 & ~_umask())
            _flush_all(part)
            _take_place(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def working_folder(target: str | Path) -> Iterator[Path]:
    """Give a hidden folder beside an output, for what is needed on the way: where there is room for the output, there
    is room for it, and the usual temporary folder may be on a small disk. It goes with the block."""
    path = Path(target).expanduser().resolve()
    with one_run(path), disk_told(_seen(path)):
        work = Path(tempfile.mkdtemp(prefix=_prefix(path, "work"), dir=path.parent))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _take_place(part: Path, target: Path) -> None:
    if not target.exists():
        part.rename(target)
    elif _swap(part, target):
        to_disk(target.parent)
        shutil.rmtree(part, ignore_errors=True)  # the old one
    else:
        old = target.with_name(f"{_prefix(target, 'old')}{secrets.token_hex(4)}")
        target.rename(old)
        try:
            part.rename(target)
        except BaseException:
            old.rename(target)
            raise
        to_disk(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    to_disk(target.parent)


def _swap(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # an old C library
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def _umask() -> int:
    mask = os.umask(0)  # there is no call that only reads it
    os.umask(mask)
    return mask


def _flush_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        if not path.is_symlink():
            to_disk(path)
    to_disk(folder)


def to_disk(path: Path) -> None:
    """Fsync a file or folder, where the system can; a full or failing disk may say so only now."""
    try:
        number = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno in (*FULL, errno.EIO):
            raise
    finally:
        os.close(number)
