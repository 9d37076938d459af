"""What can be wrong with a clip, and the error that says so, with the row and the mend."""

from __future__ import annotations

from typing import Any

#: Fewest samples at 16 kHz that give an audio token: from 320 on down the tower's strides leave none.
MIN_SAMPLES = 321

_REPLACE = "replace the file, or leave the row out"

#: The mend for each kind of problem, where a clip does not ask for another.
MENDS = {
    "missing": "correct the path, or write the data set anew with the audio inside",
    "not_audio": "put the recording itself in its place, or leave the row out",
    "unsupported": "convert it, such as with `ffmpeg -i IN OUT.flac`, or leave the row out",
    "corrupt": _REPLACE,
    "too_large": "cut it, or convert it with `ffmpeg -i IN -ac 1 -ar 16000 OUT.flac`, or leave the row out",
    "empty": _REPLACE,
    "silent": "check the recording, or leave the row out",
    "non_finite": "write the clip anew without NaN or infinite samples, or leave the row out",
    "wrong_scale": "divide integers by their full scale (32768 for 16 bits), so that samples lie between -1 and 1",
    "too_short": f"leave the row out, or give a clip of at least {MIN_SAMPLES} samples at 16000 Hz",
    "too_long": "cut the clip, or pass long_audio='window' (or 'truncate')",
}


class AudioError(ValueError):
    """A clip that cannot be used. The message names the row and the mend; `kind` is as in :class:`AudioProblem`."""

    kind: str = "corrupt"


class BadClip(Exception):
    """What is wrong with a clip, before the row is known: a kind of :data:`MENDS`, what was found, and what to do."""

    def __init__(self, kind: str, detail: str, mend: str = "") -> None:
        super().__init__(kind, detail)
        self.kind, self.detail, self.mend = kind, detail, mend or MENDS[kind]

    def error(self, row_id: Any) -> AudioError:
        """The same as the error to raise for a row."""
        return clip_error(self.kind, self.detail, row_id, self.mend)


def clip_error(kind: str, detail: str, row_id: Any, mend: str = "") -> AudioError:
    """Return the error to raise for a clip, with the row and the mend."""
    where = "" if row_id is None else f"Row {row_id!r}: "
    error = AudioError(f"{where}{detail}. Mend: {mend or MENDS[kind]}.")
    error.kind = kind
    return error
