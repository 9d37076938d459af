from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_emo_dist.audio.check import check_audio, problem_of
from hf_emo_dist.audio.clips import audio_hash, encode_flac, encode_wav, load_audio, windows
from hf_emo_dist.audio.decoding import MIN_SAMPLES, SAMPLING_RATE, AudioError

FORMATS = {"WAV": "PCM_16", "FLAC": "PCM_16", "OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}


def tone(seconds: float = 0.5, rate: int = 16000, hertz: float = 440.0) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples: np.ndarray, rate: int, file_format: str, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=file_format, subtype=subtype or FORMATS[file_format])
    return buffer.getvalue()


def loudest_hertz(waveform: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(np.argmax(spectrum) * SAMPLING_RATE / len(waveform))


# --- load_audio


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
def test_formats_rates_and_channels(file_format: str, rate: int, channels: int) -> None:
    samples = np.tile(tone(1.0, rate)[:, None], (1, channels))
    waveform = load_audio(encoded(samples, rate, file_format))
    assert waveform.dtype == np.float32 and waveform.ndim == 1
    assert len(waveform) == pytest.approx(16000, abs=2500 if file_format == "MP3" else 2)
    assert loudest_hertz(waveform) == pytest.approx(440, abs=3)
    assert np.abs(waveform).max() == pytest.approx(0.4, abs=0.05)


class Decoder:
    """Has what torchcodec's AudioDecoder has; its samples are a tensor (C, T)."""

    def __init__(self, samples: Any, rate: int) -> None:
        self.samples = SimpleNamespace(data=samples, sample_rate=rate)

    def get_all_samples(self) -> Any:
        return self.samples


def test_every_shape_of_a_row_gives_the_same_waveform(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    samples = np.stack([tone(0.3, 8000), tone(0.3, 8000, 600.0)])  # (C, T)
    data = encoded(samples.T, 8000, "WAV", "FLOAT")
    path = tmp_path / "clip.wav"
    path.write_bytes(data)
    expected = load_audio(data)
    assert len(expected) == 4800
    for value in (
        path,
        str(path),
        bytearray(data),
        {"bytes": data, "path": "elsewhere.wav"},
        {"bytes": None, "path": str(path)},
        {"array": samples, "sampling_rate": 8000},
        {"array": samples.T, "sampling_rate": 8000},
        {"array": samples.mean(axis=0).tolist(), "sampling_rate": 8000},
        Decoder(torch.from_numpy(samples), 8000),
    ):
        np.testing.assert_allclose(load_audio(value), expected, atol=1e-6)
    np.testing.assert_array_equal(load_audio(expected), expected)


def test_channels_are_averaged_before_resampling_and_levels_kept() -> None:
    left = tone(1.0, 44100)
    waveform = load_audio({"array": np.stack([left, np.zeros_like(left)]), "sampling_rate": 44100})
    assert np.abs(waveform).max() == pytest.approx(0.2, abs=0.01)
    assert len(load_audio({"array": left, "sampling_rate": 44100}, sampling_rate=24000)) == 24000


def test_integer_samples_are_scaled() -> None:
    whole = (tone() * 32768).astype(np.int16)
    np.testing.assert_allclose(load_audio({"array": whole, "sampling_rate": 16000}), tone(), atol=1e-4)
    with pytest.raises(AudioError, match="int64"):
        load_audio({"array": whole.astype(np.int64), "sampling_rate": 16000})


BROKEN: dict[str, tuple[Any, str]] = {
    "null": (None, "missing"),
    "no such file": ("/nowhere/clip.wav", "missing"),
    "nothing in the row": ({"bytes": None, "path": None}, "missing"),
    "no bytes": (b"", "empty"),
    "no samples": (encoded(np.zeros(0), 16000, "WAV"), "empty"),
    "text": (b"this is not audio" * 100, "not_audio"),
    "half a FLAC": (encoded(np.random.default_rng(0).uniform(-1, 1, 16000), 16000, "FLAC")[:9000], "corrupt"),
    "NaN": ({"array": np.r_[tone(), np.nan], "sampling_rate": 16000}, "non_finite"),
    "infinite": (encoded(np.r_[tone(), np.inf], 16000, "WAV", "FLOAT"), "non_finite"),
    "no rate": ({"array": tone(), "sampling_rate": None}, "corrupt"),
    "rate of 0": ({"array": tone(), "sampling_rate": 0}, "corrupt"),
    "three axes": (np.zeros((2, 3, 400)), "corrupt"),
    "words": ({"array": ["a", "b"], "sampling_rate": 16000}, "corrupt"),
    "one sample": ({"array": [0.1], "sampling_rate": 96000}, "too_short"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_an_error_with_row_and_mend(name: str) -> None:
    value, kind = BROKEN[name]
    with pytest.raises(AudioError, match=r"Row 'utt-7': .* Mend: ") as info:
        load_audio(value, row_id="utt-7")
    assert info.value.kind == kind
    problem = problem_of(value, row_id="utt-7")
    assert problem is not None and problem.kind == kind and problem.row_id == "utt-7"


@pytest.mark.parametrize("module", ["soundfile", "soxr"])
def test_a_missing_extra_says_what_to_install(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    data = encoded(tone(rate=8000), 8000, "WAV")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'hf-emo-dist\[audio\]'"):
        load_audio(data)
    if module == "soundfile":
        with pytest.raises(ModuleNotFoundError, match="pip install"):
            check_audio([{"audio": data}], progress=False)


# --- hash and encoding


def test_hash_follows_the_bytes(tmp_path: Path) -> None:
    data = encoded(tone(), 16000, "FLAC")
    path = tmp_path / "a.flac"
    path.write_bytes(data)
    expected = audio_hash(data)
    assert len(expected) == 64
    assert expected == audio_hash(path) == audio_hash({"bytes": data, "path": None}) == audio_hash({"path": str(path)})
    assert expected != audio_hash(data + b"\0")
    decoder = Decoder(tone()[None], 16000)
    decoder._hf_encoded = {"bytes": data, "path": None}  # type: ignore[attr-defined]
    assert audio_hash(decoder) == expected


def test_hash_of_samples_depends_on_samples_and_rate_only() -> None:
    stereo = np.stack([tone(), -tone()])
    expected = audio_hash({"array": stereo, "sampling_rate": 16000})
    assert audio_hash({"array": stereo.T.astype(np.float64), "sampling_rate": 16000}) == expected
    assert audio_hash({"array": stereo, "sampling_rate": 8000}) != expected
    assert audio_hash({"array": stereo * 0.5, "sampling_rate": 16000}) != expected
    with pytest.raises(AudioError, match="Mend"):
        audio_hash("/nowhere/clip.wav")


@pytest.mark.parametrize("encode", [encode_flac, encode_wav])
def test_encoding_keeps_the_waveform_to_16_bits_and_clips(encode: Any) -> None:
    samples = np.r_[tone(), 1.7, -1.7].astype(np.float32)
    decoded = load_audio(encode(samples, 16000))
    np.testing.assert_allclose(decoded, np.clip(samples, -1, 1), atol=1.0 / 16000)
    assert encode(samples, 16000) == encode(samples.astype(np.float64), 16000)
    with pytest.raises(AudioError, match="NaN"):
        encode(np.array([np.nan]), 16000)
    with pytest.raises(AudioError, match="no samples"):
        encode(np.zeros(0), 16000)


# --- windows


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 400_000), st.floats(0.05, 3.0))
def test_windows_leave_nothing_out(length: int, max_seconds: float) -> None:
    waveform = np.arange(length, dtype=np.float32)
    pieces = windows(waveform, max_seconds, long_audio="window")
    np.testing.assert_array_equal(np.concatenate(pieces), waveform)
    sizes = [len(piece) for piece in pieces]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= max(max_seconds * SAMPLING_RATE, 0)
    if len(pieces) > 1:
        assert min(sizes) >= MIN_SAMPLES
        assert len(pieces) == -(-length // int(max_seconds * SAMPLING_RATE))


def test_what_becomes_of_long_clips() -> None:
    clip = np.zeros(30 * 16000 + 1, dtype=np.float32)
    assert [len(piece) for piece in windows(clip[:-1])] == [480_000]
    with pytest.raises(AudioError, match=r"Row 'long'.*over 30 s.*long_audio='window'") as info:
        windows(clip, row_id="long")
    assert info.value.kind == "too_long"
    assert [len(piece) for piece in windows(clip, long_audio="truncate")] == [480_000]
    assert [len(piece) for piece in windows(clip, long_audio="window")] == [240_001, 240_000]
    with pytest.raises(ValueError, match="long_audio"):
        windows(clip, long_audio="cut")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_seconds"):
        windows(clip, max_seconds=0.0)


# --- check_audio


def rows_with_problems() -> list[dict[str, Any]]:
    good = {"bytes": encode_flac(tone()), "path": "good.flac"}
    wav = encode_wav(tone())
    return [
        {"id": "good", "audio": good},
        {"id": "not_audio", "audio": {"bytes": b"no audio", "path": None}},
        {"id": "corrupt", "audio": {"bytes": b"fLaC" + wav, "path": None}},
        {"id": "broken_off", "audio": {"bytes": wav[:5000], "path": None}},
        {"id": "empty", "audio": {"bytes": encoded(np.zeros(0), 16000, "WAV"), "path": None}},
        {"id": "silent", "audio": {"bytes": encode_flac(np.full(8000, 0.25)), "path": None}},
        {"id": "non_finite", "audio": {"bytes": encoded(np.r_[tone(), np.nan], 16000, "WAV", "FLOAT"), "path": None}},
        {"id": "too_short", "audio": {"bytes": encode_wav(tone()[: MIN_SAMPLES - 1]), "path": None}},
        {"id": "just_enough", "audio": {"bytes": encode_wav(tone()[:MIN_SAMPLES]), "path": None}},
        {"id": "too_long", "audio": {"bytes": encode_flac(tone(30.1, 8000), 8000), "path": None}},
        {"id": "missing", "audio": {"bytes": None, "path": "/nowhere/clip.wav"}},
        {"id": "good_too", "audio": good},
    ]


EXPECTED = {
    "not_audio": "not_audio",
    "corrupt": "corrupt",
    "broken_off": "corrupt",
    "empty": "empty",
    "silent": "silent",
    "non_finite": "non_finite",
    "too_short": "too_short",
    "too_long": "too_long",
    "missing": "missing",
}


@pytest.mark.parametrize("num_workers", [None, 1, 4])
@pytest.mark.parametrize("kind", ["list", "decode=False", "decode=True"])
def test_check_finds_every_problem_by_id(num_workers: int | None, kind: str) -> None:
    rows: Any = rows_with_problems()
    if kind != "list":
        rows = Dataset.from_list(rows).cast_column("audio", Audio(sampling_rate=16000, decode=False))
        if kind == "decode=True":  # Must not need torchcodec.
            rows = rows.cast_column("audio", Audio(sampling_rate=16000))
    report = check_audio(rows, num_workers=num_workers, progress=False)
    assert {problem.row_id: problem.kind for problem in report.problems} == EXPECTED
    assert [problem.row_id for problem in report.problems] == list(EXPECTED)  # In the order of the rows.
    assert report.num_rows == len(report.durations) == 12
    assert not report.ok
    assert report.durations[0] == pytest.approx(0.5)
    assert report.durations[9] == pytest.approx(30.1)
    assert np.isnan(report.durations[[1, 2, 3, 10]]).all()
    assert report.usable == [0, 8, 11] and report.unverifiable == []


def test_summary_lists_ids_counts_and_mends() -> None:
    report = check_audio(rows_with_problems(), progress=False)
    text = report.summary(max_ids=1)
    assert "9 of 12 clips" in text
    assert "corrupt (2): corrupt and 1 more" in text
    assert text.count("Mend:") == 8
    with pytest.raises(AudioError, match="9 of 12"):
        report.raise_if_any()


@pytest.mark.parametrize("long_audio", ["truncate", "window"])
def test_long_clips_are_no_problem_where_they_will_be_cut(long_audio: Any) -> None:
    report = check_audio(rows_with_problems(), long_audio=long_audio, progress=False)
    assert "too_long" not in {problem.kind for problem in report.problems}
    assert problem_of(tone(2.0), max_seconds=1.0, long_audio=long_audio) is None


def test_good_data_passes_and_rows_without_id_go_by_number() -> None:
    report = check_audio(({"speech": tone()} for _ in range(5)), column="speech", progress=False)
    assert report.ok and report.num_rows == 5
    report.raise_if_any()
    assert "no problem" in report.summary()
    bad = check_audio([{"audio": tone()}, {"audio": np.zeros(16000)}], progress=False)
    assert [problem.row_id for problem in bad.problems] == ["1"]
    assert check_audio([], progress=False).ok


def test_quiet_speech_is_not_silence() -> None:
    assert problem_of(2e-3 * tone()) is None
    problem = problem_of(1e-4 * tone())
    assert problem is not None and "dBFS" in problem.detail
    assert problem_of(1e-4 * tone(), silence_dbfs=-100.0) is None


def test_only_a_few_clips_are_held_at_a_time() -> None:
    ahead: list[int] = []

    def rows() -> Any:
        for index in range(200):
            ahead.append(index)
            yield {"id": str(index), "audio": Counted(tone(0.05))}

    alive: set[int] = set()

    class Counted(dict[str, Any]):
        most = 0

        def __init__(self, array: np.ndarray) -> None:
            super().__init__(array=array, sampling_rate=16000)
            alive.add(id(self))
            Counted.most = max(Counted.most, len(alive))

        def __del__(self) -> None:
            alive.discard(id(self))

    report = check_audio(rows(), num_workers=2, progress=False)
    assert report.num_rows == 200
    assert Counted.most <= 10


def test_check_refuses_several_splits_and_a_missing_column() -> None:
    with pytest.raises(TypeError, match="train, test"):
        check_audio({"train": [], "test": []}, progress=False)
    with pytest.raises(KeyError, match="speech"):
        check_audio([{"id": "a", "audio": tone()}], column="speech", progress=False)
    dataset = Dataset.from_dict({"id": ["a"]})
    with pytest.raises(KeyError, match="'audio'"):
        check_audio(dataset, progress=False)


def test_the_room_is_light() -> None:
    code = (
        "import sys, hf_emo_dist.audio; print([m for m in ('torch','datasets','soundfile','soxr') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_real_recordings_pass() -> None:
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("HF_EMO_DIST_TEST_DATA", default)) / "ravdess" / "audio"
    if not folder.exists():
        pytest.skip(f"no {folder}")
    paths = sorted(folder.glob("*.flac"))[:40]
    report = check_audio([{"id": path.stem, "audio": str(path)} for path in paths], progress=False)
    assert report.ok, report.summary()
    assert (report.durations > 1).all() and (report.durations < 10).all()


INTERRUPTED = """
import signal, time
import numpy as np
from hf_emo_dist.audio import encode_flac, load_audio
from hf_emo_dist.annotation.workload import duration_s

def press(*_):
    counts[0] += 1
    signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGALRM, press)
signal.signal(signal.SIGINT, signal.default_int_handler)
rng = np.random.default_rng(0)
wave = 0.1 * rng.standard_normal(48000)
data = encode_flac(wave)
for task in (lambda: load_audio(data), lambda: encode_flac(wave), lambda: duration_s(data)):
    counts = [0, 0]
    task()
    began = time.perf_counter()
    task()
    seconds = time.perf_counter() - began
    for _ in range(150):
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-6 + 0.9 * seconds * rng.random())
            task()
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            counts[1] += 1
    print(*counts)
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


@pytest.mark.skipif(os.name != "posix", reason="there is no timer that sends signals")
def test_ctrl_c_in_the_middle_of_a_clip_is_not_lost() -> None:
    """In a callback of libsndfile it was: the run went on, a good clip was called unreadable, or the process
    aborted.
    """
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    counts = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(counts) == 3
    for pressed, heard in counts:
        assert pressed >= 20 and heard == pressed
