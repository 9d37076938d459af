"""Where a ledger can live: folders, permissions, space, and what the file system can do."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from .schema import LedgerError

try:
    import fcntl
except ImportError:  # Windows, whose SQLite locks by other means
    fcntl = None  # type: ignore[assignment]

__all__ = ["check_header", "check_place", "check_space", "locks_work", "on_network"]

MOUNTS = "/proc/self/mounts"
FREE_BYTES = 32 * 2**20
FREE_BYTES_TO_GRANT = 8 * 2**20  # for what is in flight in all processes when the disk runs full
# their locks or their shared memory do not reach from one machine to the next, which a write-ahead log needs
NETWORK_FILE_SYSTEMS = (
    "nfs",
    "lustre",
    "gpfs",
    "cifs",
    "smb",
    "beegfs",
    "ceph",
    "afs",
    "fuse.",
    "9p",
    "glusterfs",
    "virtiofs",
)


def check_place(path: Path) -> None:
    """Raises `LedgerError` if a ledger cannot live at `path`; makes its folder if that is missing."""
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(
            f"The folder of the ledger {path} cannot be made ({error.strerror}).",
            "give a `ledger` in a folder that you may write.",
        ) from error
    if path.is_dir():
        raise LedgerError(f"The ledger {path} is a folder.", "give a file, such as votes.sqlite in it.")
    for place, what in ((folder, "folder"), (path, "file")):
        if place.exists() and not os.access(place, os.R_OK | os.W_OK):
            raise LedgerError(
                f"The {what} of the ledger {path} is read-only.", "make it writable, or give another `ledger`."
            )
    check_space(path, FREE_BYTES)
    check_header(path)


def check_space(path: Path, least: int) -> None:
    """Raises `LedgerError` if the disk has less than so many bytes left."""
    free = shutil.disk_usage(path.parent).free
    if free < least:
        raise LedgerError(
            f"The disk of the ledger {path} has {free / 2**20:.0f} MiB left, which is too little to keep what is paid for.",
            f"free at least {FREE_BYTES // 2**20} MiB, or give a `ledger` on another disk.",
        )


def check_header(path: Path) -> None:
    """Raises `LedgerError` if the file there is not one of SQLite's."""
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except FileNotFoundError:
        return
    except OSError as error:
        raise LedgerError(f"The ledger {path} cannot be read ({error.strerror}).", "see to its permissions.") from error
    if start and start != b"SQLite format 3\0":
        raise LedgerError(f"{path} is not an SQLite file.", "give another file as `ledger`; that one stays as it is.")


def locks_work(folder: Path) -> bool:
    """Whether files in the folder can be locked, tried on a file of its own."""
    if fcntl is None:
        return True
    handle, name = tempfile.mkstemp(dir=folder, prefix=".lock-", suffix=".probe")
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(handle, fcntl.LOCK_UN)
    except OSError:
        return False
    finally:
        os.close(handle)
        os.unlink(name)
    return True


def on_network(path: Path) -> bool:
    """Whether the file system is one that several machines share; False where the system does not say."""
    best, kind = "", ""
    try:
        with open(MOUNTS, encoding="utf-8", errors="replace") as file:
            for line in file:
                mount, name = line.split()[1:3]
                mount = mount.encode().decode("unicode_escape")
                if len(mount) >= len(best) and (mount == "/" or f"{path}/".startswith(mount.rstrip("/") + "/")):
                    best, kind = mount, name
    except (OSError, ValueError):
        return False
    return kind.startswith(NETWORK_FILE_SYSTEMS)
