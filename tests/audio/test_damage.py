"""Clips damaged at random, byte by byte: whatever becomes of them, nothing is raised but an AudioError, and what was
lost is told of wherever the format carries a length or a checksum.

The same damages every time: each is drawn from (format, number).
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from typing import Any

import made_clips as made
import numpy as np
import pytest

from hf_emo_dist.audio.check import check_audio, problem_of
from hf_emo_dist.audio.clips import load_audio
from hf_emo_dist.audio.decoding import AudioError, decode

#: Damages in all, over the eleven formats.
ALL = 10_000
#: Those that leave the number of bytes as it was.
IN_PLACE = ("bit", "bytes", "zeros", "head", "swap")
KINDS = (*IN_PLACE, "cut", "drop", "insert", "text_mode", "twice")
#: Formats that carry nothing, as a pipe leaves them.
OPEN = {
    "wav": made.piped_wav(),
    "flac": made.piped_flac(),
    "mp3": made.untagged_mp3(),
    "au": made.put(made.clip("au"), 8, b"\xff" * 4),
}


def damaged(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(data)))
    size = int(rng.integers(1, 513))
    if kind == "cut":
        return data[:at]
    if kind == "bit":
        return made.put(data, at, bytes([data[at] ^ 1 << int(rng.integers(8))]))
    if kind == "bytes":
        return made.put(data, at, rng.bytes(min(size, 64, len(data) - at)))
    if kind == "head":
        return made.put(data, at % 64, rng.bytes(1 + size % 4))
    if kind == "zeros":
        return made.put(data, at, bytes(min(size, len(data) - at)))
    if kind == "drop":
        return data[:at] + data[at + size :]
    if kind == "insert":
        return data[:at] + rng.bytes(size) + data[at:]
    if kind == "text_mode":  # as a transfer that takes it for text
        return data.replace(b"\n", b"\r\n")
    if kind == "twice":
        return data + data
    first, second = sorted(int(place) for place in rng.integers(len(data) - 16, size=2))
    return made.put(made.put(data, first, data[second : second + 16]), second, data[first : first + 16])


def fuzz(form: str, numbers: range) -> Counter[str]:
    """Damage a clip so many times; how often it was refused, and passed whole, changed or unchanged."""
    data, found = made.clip(form), Counter[str]()
    whole = load_audio(data)
    head = len(data) - 2 * len(whole)  # where the sound of the formats begins that hold it as it is
    for number in numbers:
        rng = np.random.default_rng([zlib.crc32(form.encode()), number])
        kind = KINDS[number % len(KINDS)]
        spoilt = damaged(data, kind, rng)
        if spoilt == data:
            continue
        where = f"{form} {number} {kind}"
        began = time.monotonic()
        try:
            wave = load_audio(spoilt, row_id=number)
        except AudioError as error:
            assert str(error).startswith(f"Row {number}: ") and " Mend: " in str(error), where
            found["refused"] += 1
            continue
        finally:
            assert time.monotonic() - began < 20, where
        if not decode(spoilt).verified:  # what carried the length is gone, and that is said
            found["unverifiable"] += 1
            continue
        same = len(wave) == len(whole) and np.allclose(wave, whole, atol=1e-6)
        found["unchanged" if same else "changed"] += 1
        tag = data[: made.first_frame(data)] if form == "mp3" else b""
        if tag and not spoilt.startswith(tag):  # without the tag there are no checksums, and no padding is taken off
            assert len(wave) >= len(whole), where
        elif form in made.CHECKED:
            assert same, f"{where}: changed, and its checksums say nothing"
        elif kind not in IN_PLACE:
            assert same, f"{where}: {len(wave)} of {len(whole)} samples, and its length says nothing"
        elif all(spoilt[i] == data[i] for i in range(head)):  # no header was touched
            assert len(wave) == len(whole), where
    return found


@pytest.mark.parametrize("form", made.CONTAINERS)
def test_damage_is_told_of(form: str) -> None:
    found = fuzz(form, range(200))
    assert found["refused"] >= 80


@pytest.mark.slow
@pytest.mark.parametrize("form", made.CONTAINERS)
def test_damage_is_told_of_at_length(form: str, record_property: Any) -> None:
    numbers = range(-(-ALL // len(made.CONTAINERS)))
    found = fuzz(form, numbers)
    record_property("outcomes", dict(found))
    assert found["refused"] > 0.4 * len(numbers)


@pytest.mark.parametrize("form", OPEN)
def test_what_carries_no_length_is_never_called_whole(form: str) -> None:
    data = OPEN[form]
    rng = np.random.default_rng(5)
    outcomes = Counter[str]()
    for number in range(60):
        cut = data[: int(rng.integers(len(data) // 4, len(data)))]
        report = check_audio([{"id": str(number), "audio": cut}], num_workers=1, progress=False)
        assert report.problems or report.unverifiable == [str(number)]
        outcomes["refused" if report.problems else "unverifiable"] += 1
    if form in ("wav", "au"):  # nothing at all tells
        assert outcomes["unverifiable"] == 60
    else:  # a frame that is cut does
        assert outcomes["refused"] > 30


def test_noise_behind_every_first_bytes_is_refused() -> None:
    rng = np.random.default_rng(6)
    for form in made.CONTAINERS:
        for size in (0, 1, 4, 12, 16, 40, 64, 200):
            for _ in range(10):
                spoilt = made.clip(form)[:size] + rng.bytes(int(rng.integers(3000)))
                assert problem_of(spoilt) is not None or not decode(spoilt).verified, (form, size)
