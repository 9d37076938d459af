"""Where the audio file is that a table names: in the folder, however the name is spelled, and nowhere else unasked."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

# So many files are looked at to say what a missing one may be called.
_MOST_LOOKED_AT = 100_000


class Place(NamedTuple):
    """What was found for a name."""

    path: str | None = None
    problem: str = ""  # "missing", "outside", "special" or "address"
    respelled: bool = False  # whether the file has another spelling than the name


class AudioFinder:
    r"""Finds the files that a table names in its folder.

    A table from elsewhere may name any file of this machine, and the bytes of what it names become part of a data set
    that may be published. So what lies outside of the folder, by ``../``, by an absolute path or through a link, is not
    read unless that is asked for.

    Args:
        folder: The folder.
        allow_outside: Whether files outside of it are read, too.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a b.wav").write_bytes(b"RIFF")
        >>> finder = AudioFinder(folder)
        >>> finder.find("a%20b.wav").respelled, finder.find("../passwd").problem
        (True, 'missing')
    """

    def __init__(self, folder: Path, allow_outside: bool = False) -> None:
        self.folder, self.allow_outside = folder, allow_outside
        self._root = os.path.realpath(folder)
        self._known: dict[str, Place] = {}
        self._names: dict[str, list[str]] | None = None

    def find(self, name: str) -> Place:
        """Find one file; spellings that are tried: backslashes, ``%20``, ``file://`` and both Unicode forms."""
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> Place:
        scheme = name.partition("://")[0].lower() if "://" in name[:12] else ""
        if scheme and scheme != "file":
            return Place(problem="address")
        outside = special = False
        for spelled in _spellings(name):
            path = os.path.join(self.folder, spelled)
            if not os.path.isfile(path):
                special = special or (os.path.exists(path) and not os.path.isdir(path))
                continue
            if self.allow_outside or self._is_inside(path):
                return Place(path, respelled=spelled != name)
            outside = True
        return Place(problem="outside" if outside else "special" if special else "missing")

    def _is_inside(self, path: str) -> bool:
        real = os.path.realpath(path)
        return os.path.commonpath([self._root, real]) == self._root

    def hint(self, name: str) -> str:
        """What a missing file may be called in the folder, for a message; blank where there is nothing like it."""
        last = next(iter(_spellings(name)), name).replace("\\", "/").rstrip("/").rpartition("/")[2]
        names = self._looked_at()
        found = names.get(_alike(last)) or names.get(_alike(os.path.splitext(last)[0])) or []
        nearest = min(found, key=lambda path: (os.path.basename(path) != last, path.count(os.sep), path), default=None)
        return f"; there is {nearest!r}" if nearest else ""

    def _looked_at(self) -> dict[str, list[str]]:
        """Files of the folder by what their names have in common, with and without extension."""
        if self._names is None:
            self._names = {}
            number = 0
            for folder, _, files in os.walk(self.folder):
                for file in files:
                    path = os.path.relpath(os.path.join(folder, file), self.folder)
                    for key in (_alike(file), _alike(os.path.splitext(file)[0])):
                        self._names.setdefault(key, []).append(path)
                    number += 1
                if number > _MOST_LOOKED_AT:
                    break
        return self._names


def _alike(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _spellings(name: str) -> Iterator[str]:
    """The name as it stands, then the other spellings of it; each once."""
    seen = set()
    plain = name
    if name[:7].lower() == "file://":
        plain = unquote(urlsplit(name).path)
    for slashes in (plain, plain.replace("\\", "/")):
        for text in (slashes, unquote(slashes)):
            for spelled in (text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)):
                if spelled not in seen:
                    seen.add(spelled)
                    yield spelled


def told(problem: str) -> tuple[str, str]:
    """What is said of files with a problem, and the mend."""
    if problem == "outside":
        return (
            "audio files lie outside of {folder}",
            "copy them there, or give the folder that holds them all; if you trust the table, --allow_outside reads "
            "them where they are.",
        )
    if problem == "special":
        return (
            "audio files in {folder} are pipes or devices, which may never end",
            "put the recordings themselves in their place, or pass on_missing='skip' (--on_missing skip).",
        )
    if problem == "address":
        return "audio files are addresses", "download them into {folder} and write their names."
    return (
        "audio files are not in {folder}",
        "correct AUDIO_DIR or the column of files (with its extension), or pass on_missing='skip' (--on_missing skip).",
    )
