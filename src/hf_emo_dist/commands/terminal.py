"""What reaches the terminal: text, and nothing that steers it, whoever chose the file name, the label or the message.

A terminal takes control characters for commands: a name can clear the screen, write over a line, set the title, or turn
the direction of the text around. Everything that a command prints or logs goes through `guarded`, where such characters
are shown as JSON would write them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

# C0 and C1 without tab and newline, DEL; direction, line separators, byte order marks, tags; halves of characters, as
# in names of files that are not UTF-8
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
#: Most characters of a line of a message, which may quote a label of a megabyte; its mend stands at the end.
_LONGEST = 4000
# what progress bars write, each by itself: to the line's beginning, and lines up and down
_MOVES = re.compile(r"(?:\x1b\[A|\n|\r)*")


def visible(text: str) -> str:
    r"""A text whose control and direction characters are shown instead of done; newlines and tabs stay.

    Example:
        >>> visible("a\x1b[2Jb\u202ec\n")
        'a\\u001b[2Jb\\u202ec\n'
    """
    return _STEERING.sub(lambda match: json.dumps(match[0])[1:-1], text)


def in_one_line(value: Any) -> str:
    r"""The same of a name or an id, which is one line.

    Example:
        >>> in_one_line("a.wav\nerror: no")
        'a.wav\\nerror: no'
    """
    return visible(str(value).replace("\r", "\\r").replace("\n", "\\n"))


def continued(text: str) -> str:
    r"""A message, of which no line but the first begins as a message of its own would, and no line is endless.

    Example:
        >>> continued("a name\nerror: b")
        'a name\n  error: b'
    """
    lines = [
        line if len(line) <= _LONGEST else f"{line[: _LONGEST - 500]} … ({len(line):,} characters) … {line[-400:]}"
        for line in text.split("\n")
    ]
    return re.sub(r"\n(?=[^\s])", "\n  ", "\n".join(lines))


class Guarded:
    """A text stream that shows what would steer the terminal; all else is the stream's own."""

    def __init__(self, stream: Any, bars: bool = False) -> None:
        self._stream, self._bars = stream, bars

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def write(self, text: str) -> int:
        """Write a text."""
        if self._bars and _MOVES.fullmatch(text):
            shown = text
        else:
            begin = "\r" if self._bars and text.startswith("\r") else ""
            shown = begin + visible(text[len(begin) :].replace("\r\n", "\n"))
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        if encoding.lower().replace("-", "") != "utf8":
            shown = shown.encode(encoding, "backslashreplace").decode(encoding)
        self._stream.write(shown)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several."""
        for line in lines:
            self.write(line)


class Formatter(logging.Formatter):
    """Formats a log record so that what follows its first line is seen to belong to it."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return continued(super().format(record))


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Guard standard output and standard error, and so whatever is logged there from within the block."""
    before = sys.stdout, sys.stderr
    if not isinstance(sys.stdout, Guarded):
        sys.stdout, sys.stderr = Guarded(sys.stdout), Guarded(sys.stderr, bars=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
