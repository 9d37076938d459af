"""How clips are prepared, for all backends."""

import hashlib
import io
import struct

import numpy as np
import pytest
import soundfile
from backend_setup import SERVICES, noise

from hf_emo_dist.annotation.backends import _audio
from hf_emo_dist.annotation.backends._audio import sniff
from hf_emo_dist.annotation.backends.openai import OpenAIBackend
from hf_emo_dist.annotation.backends.simulated import SimulatedBackend
from hf_emo_dist.audio.clips import audio_hash, encode_flac, encode_wav, load_audio
from hf_emo_dist.audio.decoding import AudioError

WAVE = noise(0.5, level=0.2).astype(np.float32)


def encoded(file_format, subtype=None, rate=16000, wave=WAVE):
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=file_format, subtype=subtype)
    return buffer.getvalue()


FILES = {
    "wav 16": (encoded("WAV", "PCM_16"), "wav"),
    "wav 24": (encoded("WAV", "PCM_24"), "wav"),
    "wav extensible": (encoded("WAVEX", "PCM_16"), "wav"),
    "wav float": (encoded("WAV", "FLOAT"), None),
    "wav mu-law": (encoded("WAV", "ULAW"), None),
    "flac": (encoded("FLAC"), "flac"),
    "ogg vorbis": (encoded("OGG", "VORBIS"), "ogg"),
    "ogg opus": (encoded("OGG", "OPUS"), None),
    "mp3": (encoded("MP3"), "mp3"),
    "aiff": (encoded("AIFF"), None),
}
BACKENDS = {name: service.backend() for name, service in SERVICES.items()}


@pytest.mark.parametrize("name", FILES)
def test_formats_are_told_by_their_bytes(name):
    data, kind = FILES[name]
    assert sniff(data) == kind


#: The largest form that each backend sends: 16 kHz mono, 16 bit.
ENCODE = {"gemini": (encode_flac, "audio/flac"), "openai": (encode_wav, "audio/wav")}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FILES)
def test_files_go_as_they_are_where_that_is_smaller_and_the_service_takes_them(backend, name):
    data, kind = FILES[name]
    accepted = {"gemini": {"wav", "flac", "ogg", "mp3"}, "openai": {"wav", "mp3"}}[backend]
    # the name of the file lies
    prepared = BACKENDS[backend].prepare({"bytes": data, "path": "clip.txt"}, "a")
    assert prepared.digest == audio_hash(data) == hashlib.sha256(data).hexdigest()
    assert prepared.seconds == pytest.approx(0.5, abs=0.05)
    encode, mime = ENCODE[backend]
    encoded_anew = encode(load_audio(data))
    plain = mime == f"audio/{kind}"  # 16 kHz mono already: its bits are left as they are
    if kind in accepted and (plain or len(data) <= len(encoded_anew)):
        assert prepared.data == data and prepared.mime == f"audio/{kind}"
    else:
        assert prepared.data == encoded_anew and prepared.mime == mime
    np.testing.assert_allclose(load_audio(prepared.data), load_audio(data), atol=1e-3)


def test_what_is_recorded_at_48_khz_in_stereo_goes_out_as_16_khz_mono():
    second = np.stack([noise(3.0, level=0.2)] * 2, axis=1)
    data = encoded("WAV", "PCM_16", rate=48000, wave=second)  # 1 s
    for backend, most in (("gemini", 1 / 6), ("openai", 1 / 6 + 0.001)):
        prepared = BACKENDS[backend].prepare(data, "a")
        info = soundfile.info(io.BytesIO(prepared.data))
        assert (info.samplerate, info.channels, info.subtype, prepared.seconds) == (16000, 1, "PCM_16", 1.0)
        assert len(prepared.data) <= most * len(data)
        # the key is that of the clip, so that replies which 0.1 paid for are found
        assert prepared.digest == hashlib.sha256(data).hexdigest()


def test_a_clip_is_not_longer_than_what_the_model_hears():
    wave = np.concatenate([noise(30.0, seed=1), noise(15.0, seed=2)])
    arguments = {"model": "Qwen/Qwen2-Audio-7B-Instruct", "base_url": "http://localhost:8000/v1"}
    with pytest.raises(AudioError, match=r"'a': 45.00 s, and Qwen/Qwen2-Audio-7B-Instruct hears 30 s.*truncate") as e:
        OpenAIBackend(**arguments).prepare(encode_wav(wave), "a")
    assert e.value.kind == "too_long"
    cut = OpenAIBackend(**arguments, long_audio="truncate").prepare(encode_wav(wave), "a")
    assert cut.seconds == 30.0
    np.testing.assert_allclose(load_audio(cut.data), wave[: 30 * 16000], atol=1e-4)
    whole = OpenAIBackend(**arguments).prepare(encode_wav(wave[: 30 * 16000]), "a")
    assert whole.seconds == 30.0
    # by whatever name a server calls it, and not where nothing is known
    with pytest.raises(AudioError):
        OpenAIBackend("qwen2-audio-7b-instruct", base_url="http://localhost:8000/v1").prepare(encode_wav(wave), "a")
    assert OpenAIBackend("mine", base_url="http://localhost:8000/v1").prepare(encode_wav(wave), "a").seconds == 45.0
    told = OpenAIBackend("mine", base_url="http://localhost:8000/v1", capabilities={"longest_clip_s": 40})
    with pytest.raises(AudioError, match="hears 40 s"):
        told.prepare(encode_wav(wave), "a")
    with pytest.raises(ValueError, match="long_audio"):
        OpenAIBackend(**arguments, long_audio="window")


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_are_encoded_at_16_khz_mono(backend):
    value = {"array": np.stack([noise(0.5, level=0.2)[:8000]] * 2), "sampling_rate": 8000}
    prepared = BACKENDS[backend].prepare(value, "a")
    info = soundfile.info(io.BytesIO(prepared.data))
    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
    assert prepared.seconds == 1.0 and prepared.digest == audio_hash(value)


def test_a_path_a_struct_and_a_decoder_are_one_clip(tmp_path):
    data = FILES["flac"][0]
    path = tmp_path / "clip.flac"
    path.write_bytes(data)

    class Decoder:  # as datasets gives with Audio(decode=True)
        _hf_encoded = {"bytes": data, "path": None}  # noqa: RUF012

        def get_all_samples(self):
            raise AssertionError("decoded twice")

    for value in (data, str(path), {"bytes": None, "path": str(path)}, Decoder()):
        prepared = BACKENDS["gemini"].prepare(value, "a")
        assert (prepared.data, prepared.digest) == (data, audio_hash(data))


def test_a_clip_is_decoded_once(monkeypatch):
    count = []
    real = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *args, **kwargs: count.append(1) or real(*args, **kwargs))
    for name in ("flac", "aiff"):
        count.clear()
        BACKENDS["gemini"].prepare(FILES[name][0], "a")
        assert len(count) == 1, name


BAD = {
    "nothing": (None, "missing"),
    "no file": ("/nowhere/clip.wav", "missing"),
    "no bytes": (b"", "empty"),
    "no audio": (b"this is not audio", "not_audio"),
    "cut": (encode_wav(WAVE)[:4000], "corrupt"),
    "no samples": ({"array": np.zeros(0), "sampling_rate": 16000}, "empty"),
    "silent": (encode_flac(np.zeros(8000)), "silent"),
    "short": (encode_flac(WAVE[:200]), "too_short"),
    "NaN": ({"array": np.full(8000, np.nan), "sampling_rate": 16000}, "non_finite"),
    "huge header": (b"RIFF" + struct.pack("<I", 100) + b"WAVE", "corrupt"),
}


@pytest.mark.parametrize("backend", [*BACKENDS.values(), SimulatedBackend()], ids=[*BACKENDS, "simulated"])
@pytest.mark.parametrize("name", BAD)
def test_bad_clips_are_never_sent(backend, name):
    value, kind = BAD[name]
    with pytest.raises(AudioError, match=r"'row-7'.*Mend") as caught:
        backend.prepare(value, "row-7")
    assert caught.value.kind == kind


def test_long_clips_are_the_services_business():
    prepared = BACKENDS["gemini"].prepare({"array": noise(31.0), "sampling_rate": 16000}, "a")
    assert prepared.seconds == 31.0


def test_every_encoder_has_a_type():
    assert set(_audio._ENCODERS) <= set(_audio.MIME)
