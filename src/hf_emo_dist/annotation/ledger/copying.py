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
    check_space(place, file.stat().st_size)
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
        with Ledger(part) as opened:
            for rescued in rescue_files(file):
                with contextlib.suppress(FileNotFoundError):  # who has opened the ledger meanwhile took it in
                    opened.merge(rescued)
            replies = len(opened)
    os.chmod(place, 0o600)
    return replies
