"""Clips in every format that is decoded, and files that are odd, broken or made to do harm; all made here."""

from __future__ import annotations

import io
import os
import struct
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from hf_emo_dist.audio.mpeg import crc16, frame_at

RATE = 16000
#: Format → what soundfile calls it, and how samples are coded.
CONTAINERS = {
    "wav": ("WAV", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "sphere": ("NIST", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
#: Those whose bytes are all under a checksum, the samples' at least.
CHECKED = ("flac", "ogg", "opus", "mp3")


def voice(seconds: float = 0.7, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """Something like a voice, at -20 dBFS: (T, C)."""
    rng = np.random.default_rng(channels)
    time = np.arange(int(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * 140 * k * time + k) / k for k in range(1, 9)) * (1.2 + np.sin(9 * time))
    wave = wave[:, None] + 0.1 * rng.standard_normal((len(time), channels))
    return (0.1 * wave / wave.std()).astype(np.float32)


def encode(samples: np.ndarray, form: str = "wav", subtype: str | None = None, rate: int = RATE, **options) -> bytes:
    kind, coding = CONTAINERS[form]
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype or coding, **options)
    return buffer.getvalue()


@cache
def clip(form: str) -> bytes:
    """Such a clip in this format."""
    return encode(voice(), form)


def put(data: bytes, at: int, new: bytes) -> bytes:
    """The same file with some of its bytes changed."""
    return data[:at] + new + data[at + len(new) :]


def wav_header(size: int, rate: int = RATE, channels: int = 1, riff: int | None = None, tag: int = 1) -> bytes:
    """44 bytes in front of 16-bit samples."""
    width = channels * 2
    fields = (tag, channels, rate, rate * width & 0xFFFFFFFF, width, 16)
    riff = size + 36 if riff is None else riff
    return (
        b"RIFF"
        + struct.pack("<I", riff)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, *fields)
        + b"data"
        + (struct.pack("<I", size))
    )


def pcm(seconds: float = 0.7) -> bytes:
    return (voice(seconds)[:, 0] * 32767).astype("<i2").tobytes()


def piped_wav() -> bytes:
    """As a program writes it that cannot go back to its beginning."""
    return wav_header(0xFFFFFFFF, riff=0xFFFFFFFF) + pcm()


def piped_flac(form: bytes | None = None) -> bytes:
    """FLAC without the number of samples and the MD5."""
    data = form or clip("flac")
    return put(data, 8 + 13, bytes([data[21] & 0xF0]) + bytes(4 + 16))


def flac_of(samples: int) -> bytes:
    """FLAC whose header claims so many samples."""
    data = clip("flac")
    return put(data, 8 + 13, bytes([data[21] & 0xF0 | samples >> 32]) + (samples & 0xFFFFFFFF).to_bytes(4, "big"))


def first_frame(data: bytes) -> int:
    """The size of an MP3's first frame, which holds the tag."""
    return frame_at(data, 0).size


def untagged_mp3(mode: str = "VARIABLE") -> bytes:
    """MP3 without a word of how many frames there are; of varying rate, quiet first and loud then."""
    wave = voice(2.0) * np.linspace(0.01, 4.0, 2 * RATE, dtype=np.float32)[:, None]
    data = encode(wave, "mp3", bitrate_mode=mode, compression_level=0.3)
    return data[first_frame(data) :]


def tagged_as_by_ffmpeg(data: bytes) -> bytes:
    """Its checksum is always over 190 bytes, in which it stands itself as 0 where the tag begins early."""
    at = data.index(b"LAME")
    data = put(put(data, at, b"Lavf"), at + 34, bytes(2))
    return put(data, at + 34, crc16(data[: min(190, first_frame(data))].ljust(190, b"\0")).to_bytes(2, "big"))


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    crc, top = 0, 1 << bits - 1
    for value in data:
        crc ^= value << bits - 8
        for _ in range(8):
            crc = (crc << 1 ^ polynomial if crc & top else crc << 1) & (1 << bits) - 1
    return crc


@cache
def flac_bomb(size: int = 250_000) -> bytes:
    """FLAC of silence: some 13 bytes a frame of 65,535 samples, 5 GB in all; it does not say how many there are."""
    info = struct.pack(">HH", 65535, 65535) + bytes(6) + (8000 << 44 | 15 << 36).to_bytes(8, "big")
    frames = [b"fLaC\x80\0\0\x22" + info + bytes(16)]
    made, number = 0, 0
    while made < size:
        place = bytes([number]) if number < 128 else _utf8(number)
        head = b"\xff\xf8\x74\x08" + place + struct.pack(">H", 65534)
        head += bytes([_crc(head, 8, 0x07)])
        frame = head + bytes(3)
        frames.append(frame + _crc(frame, 16, 0x8005).to_bytes(2, "big"))
        made, number = made + len(frames[-1]), number + 1
    return b"".join(frames)


def _utf8(number: int) -> bytes:
    return chr(number).encode("utf-8", "surrogatepass")


POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 96044\n"
)


#: Those that are made, and not written.
NO_FILES = ("pipe.wav", "device.wav", "folder.wav", "gone.wav", "sparse.wav")
#: Files that are read, some of them odd.
GOOD = {
    **{f"{form}.{form}": lambda form=form: clip(form) for form in CONTAINERS},
    "24 bits.wav": lambda: encode(voice(), subtype="PCM_24"),
    "floats.wav": lambda: encode(voice() * 3, subtype="FLOAT"),
    "8 bits.wav": lambda: encode(voice(), subtype="PCM_U8"),
    "telephone.wav": lambda: encode(voice(0.7, 8000), subtype="ULAW", rate=8000),
    "studio.flac": lambda: encode(voice(0.7, 96000, 6), "flac", "PCM_24", rate=96000),
    "stereo.mp3": lambda: encode(voice(0.7, 44100, 2), "mp3", rate=44100),
    "flac in name only.wav": lambda: clip("flac"),
    "G\u00fcnther.WAV": lambda: clip("wav"),
    "piped.wav": piped_wav,
    "piped.flac": piped_flac,
    "untagged.mp3": untagged_mp3,
}
#: Files that are not, and what is said of each.
BAD = {
    "pointer.wav": (lambda: POINTER, "Git LFS pointer"),
    "page.wav": (lambda: b"<!DOCTYPE html><html>", "HTML page"),
    "error.mp3": (lambda: b'{"error": "expired"}', "JSON"),
    "phone.m4a": (lambda: b"\0\0\0\x20ftypM4A " + bytes(400), "M4A"),
    "browser.webm": (lambda: b"\x1aE\xdf\xa3" + bytes(400), "WebM"),
    "zeros.wav": (lambda: bytes(20000), "nothing but zero bytes"),
    "empty.wav": (lambda: b"", "no bytes"),
    "letter.wav": (lambda: b"Dear all,\n" * 50, "text"),
    **{
        f"half.{form}": (lambda form=form: clip(form)[: len(clip(form)) // 2], "breaks off")
        for form in ("wav", "flac", "ogg", "opus", "mp3", "rf64", "w64", "aiff", "au", "sphere")
    },
    "hit.ogg": (lambda: put(clip("ogg"), len(clip("ogg")) // 2, b"\x55"), "checksum"),
    "long.wav": (lambda: put(clip("wav"), 40, struct.pack("<I", 1 << 30)), "breaks off"),
    "claim.flac": (lambda: flac_of((1 << 36) - 1), "a recording may last"),
    "bomb.flac": (flac_bomb, "a recording may last"),
    "slow.wav": (lambda: wav_header(22400, rate=1) + pcm(), "1 Hz"),
    "integers.wav": (lambda: encode(voice() * 32768, subtype="FLOAT"), "full scale"),
    "nan.wav": (lambda: encode(np.full((8000, 1), np.nan), subtype="FLOAT"), "NaN"),
    "silent.flac": (lambda: encode(np.zeros((8000, 1)), "flac"), "dBFS"),
    "click.wav": (lambda: encode(voice(0.01)), "no audio token"),
    "pipe.wav": (lambda path: os.mkfifo(path), "named pipe"),
    "device.wav": (lambda path: path.symlink_to("/dev/zero"), "device"),
    "folder.wav": (lambda path: path.mkdir(), "folder"),
    "gone.wav": (lambda path: path.symlink_to("nowhere.wav"), "No such file"),
    "sparse.wav": (lambda path: _sparse(path), "MiB"),
}


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 << 30)


def odd_folder(folder: Path) -> list[Path]:
    """All of these as files; the good ones first."""
    folder.mkdir(parents=True)
    for name, content in GOOD.items():
        (folder / name).write_bytes(content())
    for name, (make, _) in BAD.items():
        if name in NO_FILES:
            make(folder / name)
        else:
            (folder / name).write_bytes(make())
    return [folder / name for name in (*GOOD, *BAD)]
