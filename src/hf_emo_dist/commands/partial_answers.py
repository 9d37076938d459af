"""What `predict` has answered, kept beside its output until that is whole: a stopped run goes on from there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any


class PartialAnswers:
    """Answers in their order, a line of JSON each, under the output's name with ``.partial``.

    The first line says what they were made with. A line that was cut off counts as none, and so do all from the first
    on whose recording has changed. Where the next batch would not begin with a new recording, the answers since the
    last place where it would are made again: batches are then those of a run that was not stopped, and so are the
    answers, to the last bit.

    Example:
        >>> import tempfile
        >>> output = Path(tempfile.mkdtemp()) / "answers.json"
        >>> with PartialAnswers(output, ["a.wav", "b.wav"], {"model": "m"}) as kept:
        ...     kept.add({"file": "a.wav", "distribution": {"sad": 1.0}})
        >>> with PartialAnswers(output, ["a.wav", "b.wav"], {"model": "m"}) as kept:
        ...     kept.done, list(kept.answers())
        (1, [{'file': 'a.wav', 'distribution': {'sad': 1.0}}])
    """

    def __init__(self, output: Path, files: Sequence[str], made_with: Mapping[str, Any], batch_size: int = 1) -> None:
        self.path = output.with_name(f"{output.name}.partial")
        self.files, self.made_with, self.batch_size = list(files), dict(made_with), batch_size
        self.done = 0  # so many of the first files need no new answer
        self._empty = True
        self._out: IO[bytes]

    def __enter__(self) -> PartialAnswers:
        end = 0
        if self.path.is_file():
            self.done, end = self._whole()
            self._empty = self.done == 0
        self._out = open(self.path, "r+b" if end else "wb")
        self._out.seek(end)
        self._out.truncate()
        if not end:
            self._write({"made_with": self.made_with})
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()
        if self._empty:
            self.path.unlink(missing_ok=True)

    def add(self, answer: Mapping[str, Any]) -> None:
        """Keep the next answer."""
        self._write({"stamp": _stamp(str(answer["file"])), **answer})
        self._empty = False

    def answers(self) -> Iterator[dict[str, Any]]:
        """All answers that are kept, one after the other."""
        with self.path.open("rb") as file:
            next(file)
            for line in file:
                answer = json.loads(line)
                del answer["stamp"]
                yield answer

    def remove(self) -> None:
        """Remove the file: the output is whole."""
        self._out.close()
        self.path.unlink(missing_ok=True)

    def _write(self, content: Mapping[str, Any]) -> None:
        self._out.write(json.dumps(content).encode() + b"\n")  # in ASCII: a name may be no UTF-8
        self._out.flush()

    def _whole(self) -> tuple[int, int]:
        """How many answers can be kept, and where in the file they end."""
        found = windows = place = 0
        kept = (0, 0)
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                content = _parsed(line)
                place += len(line)
                if number == 0:
                    if content is None:
                        return 0, 0
                    self._check(content.get("made_with"))
                elif content is not None and found < len(self.files) and _is_of(content, self.files[found]):
                    found += 1
                    windows += len(content.get("track", ()))
                else:
                    break
                if windows % self.batch_size == 0 or found == len(self.files):
                    kept = (found, place)
        return kept

    def _check(self, before: Any) -> None:
        if before == self.made_with:
            return
        known = before if isinstance(before, dict) else {}
        changed = sorted(key for key in known.keys() | self.made_with if known.get(key) != self.made_with.get(key))
        raise ValueError(
            f"{self.path} holds answers of a run that was stopped, made with another {', '.join(changed)}. Mend: "
            "delete it to begin anew, or name another --output."
        )


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A whole line, or None for one that was cut off or is none of ours."""
    try:
        content = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return content if isinstance(content, dict) and content.keys() & {"made_with", "stamp"} else None


def _is_of(answer: Mapping[str, Any], file: str) -> bool:
    return answer.get("file") == file and answer.get("stamp") == _stamp(file)


def _stamp(file: str) -> list[int] | None:
    """Size and time of a file, which a new one changes; None for an address."""
    try:
        about = os.stat(file)
    except (OSError, ValueError):
        return None
    return [about.st_size, about.st_mtime_ns]
