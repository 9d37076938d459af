"""What is no clip says what it is; what is not whole says so; what claims too much is held against bounds."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_clips as made
import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset

from hf_emo_dist.audio import decoding, files
from hf_emo_dist.audio.check import check_audio, problem_of
from hf_emo_dist.audio.clips import audio_hash, load_audio
from hf_emo_dist.audio.decoding import AudioError, BadClip, decode
from hf_emo_dist.audio.mpeg import check_frames, frame_at
from hf_emo_dist.audio.signatures import check_format, check_head, format_of
from hf_emo_dist.audio.wholeness import check_whole, ogg_crc

WAV, FLAC, OGG, MP3 = (made.clip(form) for form in ("wav", "flac", "ogg", "mp3"))
LIST = b"LIST" + struct.pack("<I", 4) + b"INFO"


def grown(data: bytes, more: bytes) -> bytes:
    """A WAV with something behind its sound, which its header counts."""
    return made.put(data, 4, struct.pack("<I", len(data) + len(more) - 8)) + more


# --- every format, and odd files that are whole


@pytest.mark.parametrize("form", made.CONTAINERS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16000, 48000])
def test_a_whole_file_gives_what_libsndfile_gives(form: str, channels: int, rate: int) -> None:
    data = made.encode(made.voice(0.7, rate, channels), form, rate=rate)
    expected, stored = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    found = decode(data, rate)
    assert (found.rate, found.channels, found.verified) == (stored, channels, True)
    assert format_of(data) == found.kind == {"opus": "ogg"}.get(form, form)
    np.testing.assert_allclose(found.wave, expected.mean(axis=1), atol=1e-6)
    assert found.seconds == len(expected) / stored
    assert len(load_audio(data)) == round(found.seconds * 16000)


@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM"]
)
def test_codings_of_wav(subtype: str) -> None:
    data = made.encode(made.voice(), subtype=subtype)
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    np.testing.assert_array_equal(load_audio(data), expected)


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_24"])
def test_codings_of_flac(subtype: str) -> None:
    data = made.encode(made.voice(channels=3), "flac", subtype)
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    np.testing.assert_allclose(load_audio(data), expected.mean(axis=1), atol=1e-7)


# Whole, and odd: the file, and whether it carries a length.
ODD: dict[str, tuple[bytes, bool]] = {
    "WAV to a pipe": (made.piped_wav(), False),
    "WAV to a pipe, sizes of 0": (made.wav_header(0, riff=0) + made.pcm(), False),
    "WAV with a list behind": (grown(WAV, LIST), True),
    "WAV with a tag that its header does not count": (WAV + b"TAG" + bytes(125), True),
    "WAV with zeros behind": (WAV + bytes(500), True),
    "WAV with a wrong size of the whole": (made.put(WAV, 4, struct.pack("<I", len(WAV))), True),
    "WAV with an odd chunk": (grown(WAV[:36] + b"junk" + struct.pack("<I", 3) + b"abc\0" + WAV[36:], b""), True),
    "big-endian WAV": (made.encode(made.voice(), endian="BIG"), True),
    "FLAC to a pipe": (made.piped_flac(), False),
    "FLAC behind a tag": (b"ID3\4\0\0\0\0\0\5" + bytes(5) + FLAC, True),
    "AU to a pipe": (made.put(made.clip("au"), 8, b"\xff" * 4), False),
    "CAF to a pipe": (made.put(made.clip("caf"), made.clip("caf").index(b"data") + 4, b"\xff" * 8), False),
    "MP3 without a header, constant rate": (made.untagged_mp3("CONSTANT"), False),
    "MP3 without a header, varying rate": (made.untagged_mp3(), False),
    "MP3 between tags": (b"ID3\3\0\0\0\0\0\5" + bytes(5) + MP3 + b"TAG" + bytes(125), True),
    "MP3 tagged by FFmpeg": (made.tagged_as_by_ffmpeg(MP3), True),
    "SPHERE without a count": (made.clip("sphere").replace(b"sample_count", b"simple_count"), False),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_read_and_what_carries_no_length_is_unverifiable(name: str) -> None:
    data, length = ODD[name]
    report = check_audio([{"id": "x", "audio": data}], progress=False)
    assert report.ok, report.summary()
    assert report.unverifiable == ([] if length else ["x"])
    assert ("carry no length" in report.summary()) is not length
    expected = 2.0 if "without a header" in name else 0.7
    # An encoder pads MP3, and only a header tells by how much.
    assert expected - 1e-9 <= report.durations[0] < expected + (0.1 if name.startswith("MP3 without") else 1e-9)


def test_an_mp3_of_varying_rate_without_a_header_is_read_to_its_end() -> None:
    data = made.untagged_mp3()
    assert len(soundfile.read(io.BytesIO(data))[0]) < 0.8 * 2 * made.RATE  # what libsndfile makes of it
    tail = load_audio(data)[-8000:]
    assert np.std(tail) > 0.2  # it is loud at its end


# --- not whole


def without(data: bytes, at: int, size: int) -> bytes:
    return data[:at] + data[at + size :]


def second_page(data: bytes) -> int:
    """Where the last page but one of an Ogg file begins."""
    return data.rindex(b"OggS", 0, data.rindex(b"OggS"))


AIFF, AU, SPHERE, CAF = (made.clip(form) for form in ("aiff", "au", "sphere", "caf"))
BROKEN: dict[str, tuple[bytes, str]] = {
    **{f"half of {form}": (made.clip(form)[: len(made.clip(form)) // 2], "breaks off") for form in made.CONTAINERS},
    "a WAV whose data size exceeds the file": (made.put(WAV, 40, struct.pack("<I", len(WAV))), "breaks off: 44 bytes"),
    "a WAV whose data size is too small": (made.put(WAV, 40, struct.pack("<I", 400)), "behind the sound"),
    "a WAV with bytes in between": (WAV[:9000] + b"\r" * 7 + WAV[9000:], "behind the sound"),
    "a WAV without sound": (WAV[:30], "no chunk with the sound"),
    "RIFF and nothing": (b"RIFF\0\0\0\0WAVE", "no chunk with the sound"),
    "an AIFF with fewer samples than it says": (made.put(AIFF, 24, b"\xff"), "breaks off"),
    "an AIFF with more samples than it says": (made.put(AIFF, 22, struct.pack(">I", 100)), "damaged"),
    "an AU with more than it says": (AU + b"xx", "damaged"),
    "an AU whose sound begins nowhere": (made.put(AU, 4, b"\1"), "damaged"),
    "a SPHERE with more than it says": (SPHERE + b"xx", "damaged"),
    "a SPHERE whose numbers are none": (SPHERE.replace(b"-i 11200", b"-i x1200"), "numbers"),
    "FLAC damaged in the middle": (made.put(FLAC, len(FLAC) // 2, b"\x55\xaa"), "FLAC"),
    "FLAC of a wrong checksum": (made.put(FLAC, 26, bytes(8)), "checksum"),
    "FLAC whose rate was changed": (made.put(FLAC, 18, b"\x05"), "Hz in its header"),
    "FLAC of more samples than there are": (made.flac_of(20_000), "promised"),
    "FLAC of fewer samples than there are": (made.flac_of(100), "damaged"),
    "FLAC without sound": (FLAC[:42], "breaks off"),
    "OGG damaged in the middle": (made.put(OGG, len(OGG) // 2, b"\x55\xaa"), "checksum"),
    "OGG without a page in the middle": (
        without(OGG, second_page(OGG), OGG.rindex(b"OggS") - second_page(OGG)),
        "is missing before",
    ),
    "OGG without its last page": (OGG[: OGG.rindex(b"OggS")], "that it is the last"),
    "OGG with bytes between pages": (OGG[: OGG.rindex(b"OggS")] + b"xx" + OGG[OGG.rindex(b"OggS") :], "no page begins"),
    "MP3 damaged in the middle": (made.put(MP3, len(MP3) // 2, b"\x55\xaa"), "checksum"),
    "MP3 whose tag was damaged": (made.put(MP3, 30, b"\x55"), "checksum"),
    "MP3 without a frame in the middle": (without(MP3, 576, 144), "frame"),
    "MP3 with bytes between frames": (
        made.untagged_mp3("CONSTANT")[:1728] + b"??" + made.untagged_mp3()[1728:],
        "frame",
    ),
    "MP3 without its last frame": (MP3[:-144], "breaks off"),
    "an MP3's tag without sound": (b"ID3\3\0\0\0\0\0\5" + bytes(5), "begins with"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_not_whole_is_refused_with_the_row(name: str) -> None:
    data, says = BROKEN[name]
    for call in (load_audio, lambda *args, **named: decoding.source_bytes(data) and load_audio(*args, **named)):
        with pytest.raises(AudioError, match=rf"^Row 'r7': .*{says}.*\. Mend: .+\.$") as caught:
            call(data, row_id="r7")
        assert caught.value.kind == "corrupt"
    assert problem_of(data).kind == "corrupt"


def test_checksums_are_those_of_the_formats() -> None:
    assert ogg_crc(b"123456789") == 0x89A1897F
    first = OGG[: OGG.index(b"OggS", 4)]
    assert ogg_crc(made.put(first, 22, bytes(4))) == int.from_bytes(first[22:26], "little")


def test_the_checksum_of_an_mp3_frame() -> None:
    # Silence, 128 kbit/s, 44.1 kHz, one channel, with a checksum over header and side information.
    head, side = b"\xff\xfa\x90\xc0", bytes(17)
    crc = 0xFFFF
    for value in head[2:] + side:
        crc ^= value << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x8005 if crc & 0x8000 else crc << 1) & 0xFFFF
    frame = (head + crc.to_bytes(2, "big") + side).ljust(frame_at(head, 0).size, b"\0")
    assert check_frames(frame * 20, 0) == (20 * 1152 - 529, False, False, 0)
    assert len(load_audio(frame * 20, 44100)) == 20 * 1152
    with pytest.raises(BadClip, match="checksum of the frame at byte 417"):
        check_frames(frame + made.put(frame, 9, b"\1") + frame, 0)


def test_a_file_of_nothing_but_chunks_does_not_take_long() -> None:
    began = time.monotonic()
    for chunk in (bytes(8), b"junk" + bytes(4)):
        for behind in (b"", WAV[12:]):
            assert problem_of(b"RIFF" + b"\xff" * 4 + b"WAVE" + chunk * 2_000_000 + behind) is not None
        assert problem_of(WAV + chunk * 2_000_000) is None
    assert time.monotonic() - began < 5


# --- no audio, or another format

FOREIGN: dict[str, tuple[bytes, str, str, str]] = {
    "a Git LFS pointer": (made.POINTER, "not_audio", "a Git LFS pointer", "git lfs pull"),
    "a git-annex pointer": (b"/annex/objects/MD5E-s4--ab.wav\n", "not_audio", "git-annex", "git annex get"),
    "an HTML page": (b"\n<!DOCTYPE html>\n<html><title>Sign in</title>", "not_audio", "HTML page", "download it anew"),
    "an XML page": (b'<?xml version="1.0"?><Error><Code>AccessDenied', "not_audio", "XML", "download it anew"),
    "JSON": (b'{"error": "gone"}', "not_audio", "JSON", "download it anew"),
    "text": (
        "Günther sagt nein".encode() * 90,
        "not_audio",
        "the file is text",
        "the recording itself",
    ),
    "text in UTF-16": ("a,b\n".encode("utf-16"), "not_audio", "text", "the recording itself"),
    "an M4A": (b"\0\0\0\x20ftypM4A " + bytes(40), "unsupported", "M4A", "ffmpeg -i IN OUT.flac"),
    "a WebM": (b"\x1aE\xdf\xa3" + bytes(40), "unsupported", "WebM", "ffmpeg -i IN OUT.flac"),
    "a WMA": (b"0&\xb2u\x8ef\xcf\x11" + bytes(40), "unsupported", "WMA", "ffmpeg"),
    "an AAC": (b"\xff\xf1\x50\x80" + bytes(40), "unsupported", "AAC", "ffmpeg"),
    "an AMR": (b"#!AMR\n" + bytes(40), "unsupported", "AMR", "ffmpeg"),
    "a packed SPHERE": (
        SPHERE.replace(b"-s3 pcm\n", b"-s26 pcm,embedded-shorten-v2.00\n"),
        "unsupported",
        "embedded-shorten",
        "sph2pipe",
    ),
    "several streams": (OGG + made.put(made.put(OGG, 14, b"\1"), 5, b"\2"), "corrupt", "checksum", ""),
    "a ZIP": (b"PK\3\4" + bytes(40), "not_audio", "ZIP", "unpack"),
    "a Mac's double": (b"\0\5\x16\7" + bytes(40), "not_audio", "AppleDouble", "leave it out"),
    "zeros": (bytes(4000), "not_audio", "nothing but zero bytes", "copy it again"),
    "noise": (bytes(range(150, 250)), "corrupt", "begins with 96 97 98", "replace"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_audio_says_what_it_is(name: str, tmp_path: Path) -> None:
    data, kind, says, mend = FOREIGN[name]
    with pytest.raises(AudioError, match=f"^Row 'r7': .*{says}.* Mend: .*{mend}") as caught:
        load_audio(data, row_id="r7")
    assert caught.value.kind == kind
    path = tmp_path / "clip.wav"
    path.write_bytes(data)
    if name not in ("several streams", "a packed SPHERE"):
        with pytest.raises(BadClip):
            check_head(path)


def test_several_streams_in_one_ogg_are_not_heard_in_part() -> None:
    def page(serial: int, flags: int, number: int, packet: bytes = b"OpusHead") -> bytes:
        body = b"OggS\0" + bytes([flags]) + bytes(8) + struct.pack("<III", serial, number, 0) + b"\1\x08" + packet
        return made.put(body, 22, ogg_crc(body).to_bytes(4, "little"))

    assert check_whole(page(1, 2, 0) + page(1, 4, 1), "ogg").length
    for packet, what in ((b"\x7fFLAC\1\0\0", "FLAC"), (b"Speex   ", "Speex"), (b"fishead\0", "unknown")):
        with pytest.raises(BadClip, match=f"Ogg file of .*{what}"):
            check_whole(page(1, 2, 0, packet) + page(1, 4, 1), "ogg")
    with pytest.raises(BadClip, match="several streams"):
        check_whole(page(1, 2, 0) + page(2, 2, 0), "ogg")
    with pytest.raises(BadClip, match="not the first of a stream"):
        check_whole(page(1, 0, 5), "ogg")


def test_the_report_groups_by_what_is_to_be_done() -> None:
    rows = [{"id": f"p{i}", "audio": made.POINTER} for i in range(20)] + [{"id": "page", "audio": b"<html>"}]
    text = check_audio(rows, progress=False).summary(max_ids=3)
    assert "- not_audio (21): p0, p1, p2 and 18 more" in text
    assert "p0 (and 19 more): the file is a Git LFS pointer.\n  Mend: `git lfs pull`" in text
    assert "page: the file is an HTML page" in text


def test_a_head_is_enough_to_tell(tmp_path: Path) -> None:
    for form in made.CONTAINERS:
        data = made.clip(form)
        assert format_of(data[: 1 << 14]) == check_format(data)
    path = tmp_path / "clip.mp3"
    path.write_bytes(b"ID3\3\0\0\0\1\x00\x00" + bytes(1 << 14) + MP3)  # a tag with a picture, longer than the head
    check_head(path)
    with pytest.raises(AudioError, match=r"nothing|no sound|begins"):
        load_audio(b"ID3\3\0\0\0\1\x00\x00" + bytes(50))


# --- bounds


def bound_cases() -> dict[str, tuple[bytes, str, str]]:
    return {
        "a WAV at 1 Hz": (made.wav_header(22400, rate=1) + made.pcm(), "corrupt", "1 Hz"),
        "a WAV at 4 GHz": (made.wav_header(22400, rate=2_000_000_000) + made.pcm(), "too_large", "2e.09 Hz"),
        "a WAV of 999 channels": (made.wav_header(19980, channels=999) + bytes(19980), "too_large", "999 channels"),
        "27 kB that claim 2^36 samples": (made.flac_of((1 << 36) - 1), "too_large", "4,294,967 s"),
        "a FLAC that opens to 5 GB": (made.flac_bomb(), "too_large", "3,6.. s, and a recording may last 3,600"),
        "floats that reach 32768": (
            made.encode(made.voice() * 32768, subtype="FLOAT"),
            "wrong_scale",
            "full scale is 1.*divide integers",
        ),
        "floats beyond all bounds": (made.encode(made.voice() * 1e30, subtype="DOUBLE"), "wrong_scale", "full scale"),
        "floats beyond float32": (made.encode(made.voice() * 1e300, subtype="DOUBLE"), "non_finite", "infinite"),
    }


@pytest.mark.parametrize("name", bound_cases())
def test_what_claims_too_much_is_refused_before_it_is_allocated(name: str) -> None:
    data, kind, says = bound_cases()[name]
    with pytest.raises(AudioError, match=f"^Row 'r7': .*{says}") as caught:
        load_audio(data, row_id="r7")
    assert caught.value.kind == kind


def test_arrays_have_the_same_bounds() -> None:
    wave = made.voice()[:, 0]
    for value, says in (
        ({"array": wave, "sampling_rate": 1}, "1 Hz"),
        ({"array": np.broadcast_to(np.float32(0.1), (4000, 1 << 14)), "sampling_rate": 16000}, "4000 channels"),
        ({"array": np.broadcast_to(np.float32(0.1), (1 << 30,)), "sampling_rate": 16000}, "67,109 s"),
        (wave * 32768, "full scale"),
    ):
        with pytest.raises(AudioError, match=says):
            load_audio(value)
        assert not check_audio([{"audio": value}], progress=False).ok
    assert np.abs(load_audio(wave * 12)).max() > 1  # hot, and clearly floats


def test_an_encoded_clip_may_have_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(WAV)
    monkeypatch.setattr(files, "MAX_BYTES", len(WAV))
    load_audio(path)
    monkeypatch.setattr(files, "MAX_BYTES", len(WAV) - 1)
    for value in (path, WAV, {"bytes": WAV, "path": None}, {"bytes": None, "path": str(path)}):
        with pytest.raises(AudioError, match=r"a clip may have.*Mend: cut it") as caught:
            load_audio(value)
        assert caught.value.kind == "too_large"


# --- what is no ordinary file


@pytest.mark.skipif(os.name != "posix", reason="there are no such files")
def test_what_may_never_end_is_not_opened(tmp_path: Path) -> None:
    def link(target: str) -> Callable[[Path], Any]:
        return lambda path: path.symlink_to(target)

    odd: dict[str, tuple[Callable[[Path], Any], str]] = {
        "zero.wav": (link("/dev/zero"), "is a device, which may never end"),
        "random.flac": (link("/dev/urandom"), "is a device"),
        "pipe.wav": (os.mkfifo, "is a named pipe"),
        "folder.wav": (Path.mkdir, "is a folder"),
        "loop.wav": (lambda path: path.symlink_to(path.name), "cannot read"),
        "gone.wav": (link("nowhere.wav"), "No such file"),
        "process.wav": (link("/proc/self/maps"), "text"),
    }
    began = time.monotonic()
    for name, (make, says) in odd.items():
        path = tmp_path / name
        make(path)
        for value in (path, str(path), {"bytes": None, "path": str(path)}):
            with pytest.raises(AudioError, match=f"^Row '{name}': .*{says}.* Mend: "):
                load_audio(value, row_id=name)
    with pytest.raises(AudioError, match="cannot read"):
        load_audio("a\0b.wav")
    sparse = tmp_path / "sparse.wav"
    with sparse.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(AudioError, match="1,048,576 MiB"):
        load_audio(sparse)
    assert time.monotonic() - began < 5


# --- the hash of a row, decoded or not


class Decoder:
    """As `datasets` gives with Audio(decode=True): it knows what it was made from."""

    def __init__(self, encoded: dict[str, Any]) -> None:
        self._hf_encoded = encoded

    def get_all_samples(self) -> Any:
        raise AssertionError("decoded by another decoder than ours")


def test_a_row_hashes_alike_decoded_or_not(tmp_path: Path) -> None:
    path = tmp_path / "clip.flac"
    path.write_bytes(FLAC)
    for encoded in (
        {"bytes": FLAC, "path": "x.flac"},
        {"bytes": FLAC, "path": None},
        {"bytes": None, "path": str(path)},
    ):
        undecoded = Dataset.from_list([{"audio": encoded}]).cast_column("audio", Audio(decode=False))[0]["audio"]
        assert audio_hash(undecoded) == audio_hash(Decoder(encoded)) == audio_hash(FLAC)
        np.testing.assert_array_equal(load_audio(Decoder(encoded)), load_audio(FLAC))


def test_a_decoder_of_something_far_away_is_bounded() -> None:
    torch = pytest.importorskip("torch")

    class Remote(Decoder):
        metadata = type("About", (), {"duration_seconds_from_header": 1.0, "sample_rate": 16000, "num_channels": 1})

        def get_samples_played_in_range(self, start: float, stop: float) -> Any:
            assert (start, stop) == (0.0, decoding.MAX_DECODED_SECONDS + 1)
            data = torch.full((1, 16000), 0.1)
            return type("Samples", (), {"data": data, "sample_rate": 16000})

    remote = Remote({"bytes": None, "path": "https://host/clip.wav"})
    assert load_audio(remote).shape == (16000,)
    remote.metadata.duration_seconds_from_header = 1e9
    with pytest.raises(AudioError, match="a recording may last"):
        load_audio(remote)


# --- memory

HOSTILE = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import made_clips as made
import numpy as np
from hf_emo_dist.audio.check import check_audio
from hf_emo_dist.audio.clips import load_audio
check_audio([{"audio": made.clip(form)} for form in made.CONTAINERS], progress=False)  # everything is imported
bombs = {"flac": made.flac_bomb(), "stream": made.piped_flac(made.encode(made.voice(), "flac")),
         "claim": made.flac_of((1 << 36) - 1), "slow": made.wav_header(22400, rate=1) + made.pcm()}
hour = made.wav_header(115_200_000) + bytes(115_200_000)
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + 500_000_000,) * 2)
report = check_audio([{"id": name, "audio": data} for name, data in bombs.items()], num_workers=2, progress=False)
print(sorted(problem.row_id for problem in report.problems))
print(len(load_audio(hour)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of address space are Linux's")
def test_no_clip_takes_much_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},  # an arena a thread reserves address space, and uses none of it
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == ["['claim', 'flac', 'slow']", str(3600 * 16000)]
