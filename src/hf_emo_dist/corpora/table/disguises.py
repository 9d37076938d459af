"""What a file of rows is by its first bytes, where its name says something else."""

from __future__ import annotations

import zipfile
from pathlib import Path

_EXPORT = "open it in a spreadsheet program and save it as .xlsx or 'CSV UTF-8'"


def disguise(path: Path) -> tuple[str, str] | None:
    """What a file is, and the mend, where its first bytes are not those of a file of its name; else None.

    Text is not looked into: whether it is CSV or JSON is for the reader of its name to say.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "votes.csv")
        >>> _ = path.write_bytes(b"PAR1...")
        >>> disguise(path)
        ('is a Parquet file', 'give it the ending .parquet')
    """
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        head = file.read(512)
    found, endings, mend = _by_bytes(path, head)
    if not found and suffix in (".xlsx", ".xlsm", ".parquet") and head and b"\0" not in head:
        wanted = "a Parquet file" if suffix == ".parquet" else "an Excel workbook"
        return f"is not {wanted} but text", "give it the ending of what it holds: .csv, .tsv, .json or .jsonl"
    return None if not found or suffix in endings else (found, mend)


def _by_bytes(path: Path, head: bytes) -> tuple[str, tuple[str, ...], str]:
    """What a file is, the endings that it may have, and the mend where it has none of them; blank for unknown bytes."""
    if head.startswith(b"PK\3\4"):
        if b"mimetypeapplication/vnd.oasis.opendocument" in head:
            return "is an OpenDocument spreadsheet", (), _EXPORT
        if _holds_workbook(path):
            return "is an Excel workbook", (".xlsx", ".xlsm"), "give it the ending .xlsx, or save it as 'CSV UTF-8'"
        return "is a ZIP archive", (".xlsx", ".xlsm"), "unpack it"
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return "is an old Excel workbook (.xls), or one with a password", (), _EXPORT
    if head.startswith(b"PAR1"):
        return "is a Parquet file", (".parquet",), "give it the ending .parquet"
    if head.startswith(b"\x1f\x8b"):
        return "is a gzip archive", (), "unpack it"
    if head.startswith(b"version https://git-lfs.github.com/"):
        return "is a Git LFS pointer", (), "`git lfs pull` where it was cloned"
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html", b"<table")):
        return "is a web page", (), "download the table itself; a table that a tool exported as HTML: " + _EXPORT
    return "", (), ""


def _holds_workbook(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.startswith("xl/") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
