"""What people hand to the pipeline: open files, rates beside arrays, silence, addresses of slow and broken servers."""

import csv
import http.server
import io
import json
import logging
import shutil
import threading
import time

import numpy as np
import pytest
import soundfile
import torch
from test_pipeline import WAVES, by_name, pipe  # noqa: F401 - a fixture
from transformers import pipeline

from hf_emo_dist import load_emotion_model
from hf_emo_dist.audio import fetching
from hf_emo_dist.audio.clips import encode_flac
from hf_emo_dist.audio.decoding import AudioError


def test_an_open_file_is_one_recording(pipe, tmp_path):  # noqa: F811
    path = tmp_path / "clip.wav"
    soundfile.write(path, WAVES[0], 16000)
    wanted = by_name(pipe(str(path)))
    buffer = io.BytesIO()
    soundfile.write(buffer, WAVES[0], 16000, format="WAV")  # which leaves it at its end
    with open(path, "rb") as file, open(path, "rb", buffering=0) as raw:
        for value in (file, raw, buffer, io.BytesIO(path.read_bytes())):
            for _ in range(2):  # the same once more
                np.testing.assert_allclose(by_name(pipe(value)), wanted, atol=1e-9)
        assert [len(answer) for answer in pipe([file, buffer])] == [3, 3]
        assert pipe({"id": "a", "audio": file})
    with open(path, "rb") as file, pytest.raises(AudioError, match=r"clip\.wav.*open it with 'rb'"):
        pipe(io.TextIOWrapper(file, encoding="latin-1"))
    with pytest.raises(AudioError, match="closed"):
        pipe(file)
    with pytest.raises(AudioError, match="no bytes"):
        pipe(io.BytesIO())


def test_a_rate_beside_samples_is_one_recording(pipe):  # noqa: F811
    wave = WAVES[1]
    wanted = by_name(pipe({"array": wave, "sampling_rate": 8000}))
    whole = (wave * 32767).astype(np.int16)
    for value in (
        (8000, wave),
        (wave, 8000),  # soundfile.read, librosa.load
        (np.int64(8000), wave),
        (torch.from_numpy(wave)[None], 8000),  # torchaudio.load
        (8000, wave.tolist()),
    ):
        np.testing.assert_allclose(by_name(pipe(value)), wanted, atol=1e-6)
    np.testing.assert_allclose(by_name(pipe((8000, whole))), wanted, atol=1e-3)  # gradio, scipy.io.wavfile.read
    np.testing.assert_allclose(by_name(pipe((8000, np.stack([whole, whole], 1)))), wanted, atol=1e-3)
    assert len(pipe([(8000, wave), (wave, 8000)])) == 2
    assert len(pipe((wave, wave))) == 2  # a tuple of two recordings
    assert isinstance(pipe([np.float32(value) for value in wave])[0]["score"], float)


@pytest.mark.parametrize("level", [0.0, 1e-6])
def test_silence_is_said(pipe, caplog, level):  # noqa: F811
    silence = np.full(16000, 0.2, dtype=np.float32)  # an offset is no sound
    silence[::2] += level
    with caplog.at_level(logging.WARNING, "hf_emo_dist"):
        answers = pipe([{"id": "loud", "audio": WAVES[0]}, {"id": "still", "audio": silence}])
    assert all(entry["silent"] is True for entry in answers[1]) and "still is silent" in caplog.text
    assert not any("silent" in entry for entry in answers[0]) and "loud" not in caplog.text
    assert pipe(silence, return_track=True)["silent"] is True
    half = pipe(np.concatenate([silence, np.tile(WAVES[0], 5)[:16000]]), window_seconds=1.0, return_track=True)
    assert "silent" not in half and ["silent" in window for window in half["track"]] == [True, False]


@pytest.fixture
def sure_checkpoint(tmp_path, tones_checkpoint):
    """The same weights, said to be trained by the Dirichlet-multinomial, and with a temperature."""
    folder = shutil.copytree(tones_checkpoint, tmp_path / "sure")
    config = json.loads((folder / "config.json").read_text())
    config |= {"loss_type": "dirichlet_multinomial", "calibration": {"temperature": 2.0}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_silence_beside_concentration_and_temperature(sure_checkpoint):
    model, processor = load_emotion_model(sure_checkpoint)
    sure = pipeline("speech-emotion-distribution", model=model, processor=processor)
    still = np.zeros(16000, dtype=np.float32)
    both = np.concatenate([still, np.tile(WAVES[0], 5)[:16000]])
    asked = {"return_concentration": True, "apply_temperature": True}
    answer = sure(still, **asked)
    assert answer["silent"] is True and answer["concentration"] > 0
    assert not any("silent" in entry for entry in answer["distribution"])
    found = sure(both, window_seconds=1.0, return_track=True, **asked)
    assert "silent" not in found and ["silent" in window for window in found["track"]] == [True, False]
    assert all(window["concentration"] > 0 for window in found["track"])
    assert all(entry["silent"] is True for entry in sure(still, apply_temperature=True))

    def spoil(module, args, output):
        output.logits[:] = float("nan")
        return output

    model.register_forward_hook(spoil)
    with pytest.raises(ValueError, match="the model answers NaN"):
        sure(WAVES[0], **asked)


def test_a_table_of_both(tmp_path, sure_checkpoint, capsys):
    from hf_emo_dist.commands.main import main

    soundfile.write(tmp_path / "loud.wav", WAVES[0], 16000)
    soundfile.write(tmp_path / "still.wav", np.zeros(8000, dtype=np.float32), 16000)
    (tmp_path / "broken.wav").write_bytes(b"junk")
    names = [str(tmp_path / f"{name}.wav") for name in ("loud", "still", "broken")]
    words = ["predict", *names, "--model", str(sure_checkpoint), "--device", "cpu", "--concentration"]
    for more in ([], ["--track"]):
        assert main([*words, *more, "--format", "csv"]) != 0  # one is broken
        rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
        assert list(rows[0])[-3:] == ["concentration", "error", "silent"]
        assert [row["silent"] for row in rows] == ["", "yes", ""] and rows[2]["error"] and not rows[2]["concentration"]
        assert all(float(row["concentration"]) > 0 and not row["error"] for row in rows[:2])


def test_the_command_says_so_too(tmp_path, tones_checkpoint, capsys):
    from hf_emo_dist.commands.main import main

    for name, wave in (("loud", WAVES[0]), ("still", np.zeros(8000, dtype=np.float32))):
        soundfile.write(tmp_path / f"{name}.wav", wave, 16000)
    words = ["predict", str(tmp_path / "loud.wav"), str(tmp_path / "still.wav"), "--model", str(tones_checkpoint)]
    words += ["--device", "cpu"]
    assert main([*words, "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(",error,silent") and [line.split(",")[-1] for line in lines[1:]] == ["", "yes"]
    assert main(words) == 0
    assert "silent: what follows is not heard in it" in capsys.readouterr().out
    assert main([*words, "--format", "json"]) == 0
    assert capsys.readouterr().out.count('"silent": true') == 1


def test_answers_that_are_no_numbers_are_refused(pipe, caplog):  # noqa: F811
    seen = []

    def spoil(module, args, output):
        seen.append(1)
        if len(seen) == 2:
            output.logits[:] = float("nan")
        return output

    pipe.model.register_forward_hook(spoil)
    with caplog.at_level(logging.WARNING, "hf_emo_dist"):
        answers = pipe(WAVES[:3])
    assert [isinstance(answer, list) for answer in answers] == [True, False, True]
    assert "the model answers NaN" in answers[1]["error"] and "1 inputs could not be read" in caplog.text
    seen.clear()
    pipe(WAVES[0])
    with pytest.raises(ValueError, match=r"the model answers NaN.*Mend"):
        pipe(WAVES[0])


@pytest.fixture
def server():
    data = encode_flac(WAVES[0])

    class Servant(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            kind = self.path.strip("/")
            self.send_response(200)
            if kind in ("whole", "broken"):
                self.send_header("Content-Length", str(len(data)))
            elif kind == "huge":
                self.send_header("Content-Length", str(10**12))
            elif kind == "chunked":
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if kind in ("whole", "unsized"):
                self.wfile.write(data)
            elif kind == "broken":
                self.wfile.write(data[: len(data) // 2])
            elif kind == "chunked":
                self.wfile.write(b"ffff\r\n" + data[:100])
            elif kind == "endless":
                try:
                    while True:
                        self.wfile.write(bytes(1 << 16))
                except OSError:
                    return
            elif kind == "slow":
                try:
                    for value in data[:200]:
                        self.wfile.write(bytes([value]))
                        time.sleep(0.02)
                except OSError:
                    return

        def log_message(self, *args):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Servant)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


BROKEN = {
    "broken": "the server broke off after",
    "huge": "it is larger than 1 MiB",
    "endless": "it is larger than 1 MiB",
    "slow": "it has not come whole within 0.3 s",
    "chunked": "nothing could be fetched",
}


def test_an_address_that_breaks_does_not_end_the_batch(pipe, server, monkeypatch):  # noqa: F811
    monkeypatch.setattr(fetching, "URL_BYTES", 1 << 20)
    monkeypatch.setattr(fetching, "URL_SECONDS", 0.3)
    addresses = [f"{server}/{kind}" for kind in ("whole", *BROKEN, "unsized")]
    addresses += ["http://[::1", "http://127.0.0.1:1/gone.wav"]
    start = time.monotonic()
    answers = pipe(addresses, allow_private_addresses=True)
    assert time.monotonic() - start < 20
    wanted = by_name(pipe(encode_flac(WAVES[0])))
    for good in (answers[0], answers[len(BROKEN) + 1]):
        np.testing.assert_allclose(by_name(good), wanted, atol=1e-9)
    for kind, answer in zip(BROKEN, answers[1:], strict=False):
        assert BROKEN[kind] in answer["error"] and f"/{kind}" in answer["error"], kind
    assert all("nothing could be fetched" in answer["error"] for answer in answers[-2:])
