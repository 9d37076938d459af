"""A ledger copied as a whole, while others write to it or after a process was killed: by SQLite's own backup."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from ...data.output import output_file
from .accounts import existing
from .exchange import rescue_files
from .ledger import Ledger
from .opening import check_space, open_to_read
from .schema import explain


def copy_ledger(source: str | Path, target: str | Path, overwrite: bool = False) -> int:
    """Copy a ledger into one file that holds all of its replies, and can be moved by any means.

    Its own file alone may lack the last ones: they are in its write-ahead log (`-wal`) for up to a second, and for
    longer where a process was killed, or in rescue files beside it. The source is only read.

    Args:
        source: A ledger; runs may go on meanwhile.
        target: The file to write, whole or not at all.
        overwrite: Whether a file that is there may be replaced.

    Returns:
        How many replies the copy has.

    Raises:
        FileExistsError: The target is there.
        LedgerError: There is no ledger, it cannot be read, or the target's disk has too little space.
    """
    file, place = existing(source), Path(target).expanduser().resolve()
    if place == file or (place.exists() and not overwrite):
        raise FileExistsError(f"{target} is there already. Mend: another name, or --overwrite.")
    beside = [name for name in ("-wal", "-journal") if place.with_name(place.name + name).exists()]
    if beside:
        raise FileExistsError(
            f"Beside {target} lies {place.name}{beside[0]} of another ledger, which would be taken for part of the "
            "copy. Mend: another name."
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    log = file.with_name(f"{file.name}-wal")
    rescued = rescue_files(file)
    sizes = [one.stat().st_size for one in (file, log, *rescued) if one.exists()]
    # Rows of a rescue file, and its own log while they are taken in, come to no more than twice their text.
    needed = sum(sizes) + 2 * sum(sizes[-len(rescued) :] if rescued else []) + 2**20
    check_space(
        place,
        needed,
        "the copy",
        f"for the {needed / 2**20:.1f} MiB that it takes",
        f"free {needed / 2**20:.1f} MiB there, or copy to a file on another disk.",
    )
    with output_file(place) as part:
        try:
            with (
                contextlib.closing(open_to_read(file)) as there,
                contextlib.closing(sqlite3.connect(part)) as copy,
            ):
                there.backup(copy)  # in one go: by parts it begins anew whenever somebody writes
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, until it is opened
        except sqlite3.Error as error:
            raise explain(error, file) from error
        os.chmod(part, 0o600)
        replies = _take_in(part, file)
    os.chmod(place, 0o600)
    return replies


def _take_in(part: Path, source: Path) -> int:
    """Add what lies in rescue files beside the source to its copy; how many replies that has."""
    found = rescue_files(source)
    if not found:
        with contextlib.closing(sqlite3.connect(part)) as copy:
            return int(copy.execute("SELECT COUNT(*) FROM replies").fetchone()[0])
    with Ledger(part, least_free=0) as opened:  # its space was looked at
        for rescued in found:
            if rescued.exists():  # else who has opened the ledger meanwhile took it in
                opened.merge(rescued)
        return len(opened)
