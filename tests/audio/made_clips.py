"""Clips in every format that is decoded, and files that are odd, broken or made to do harm; all made here."""

from __future__ import annotations

import io
import struct
from functools import cache

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


def flac_bomb(size: int, channels: int = 8) -> bytes:
    """FLAC of silence: 34 bytes a frame of 65,535 samples in 8 channels; it does not say how many there are."""
    info = struct.pack(">HH", 65535, 65535) + bytes(6) + (8000 << 44 | channels - 1 << 41 | 15 << 36).to_bytes(8, "big")
    frames = [b"fLaC\x80\0\0\x22" + info + bytes(16)]
    made, number = 0, 0
    while made < size:
        place = bytes([number]) if number < 128 else _utf8(number)
        head = b"\xff\xf8\x74" + bytes([channels - 1 << 4 | 8]) + place + struct.pack(">H", 65534)
        head += bytes([_crc(head, 8, 0x07)])
        frame = head + b"\0\0\0" * channels
        frames.append(frame + _crc(frame, 16, 0x8005).to_bytes(2, "big"))
        made, number = made + len(frames[-1]), number + 1
    return b"".join(frames)


def _utf8(number: int) -> bytes:
    return chr(number).encode("utf-8", "surrogatepass")


POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 96044\n"
)
