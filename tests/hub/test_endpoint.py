"""The handler that a push writes is what huggingface-inference-toolkit loads, and answers as the pipeline does."""

import base64
import importlib.util
import io
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import soundfile
from tiny_data import tone

from hf_emo_dist import load_emotion_model, push_model
from hf_emo_dist.commands.main import main
from hf_emo_dist.hub.endpoint import REQUIREMENTS
from hf_emo_dist.modeling.pipeline import SpeechEmotionDistributionPipeline


@pytest.fixture(scope="module")
def wav():
    file = io.BytesIO()
    soundfile.write(file, tone(220, 0.4), 16000, format="WAV")
    return file.getvalue()


@pytest.fixture
def handler(hub, full, tmp_path, monkeypatch):
    """Loaded as the toolkit does, from what lies on the Hub."""
    push_model(full, "me/served", endpoint_handler=True)
    from huggingface_hub import snapshot_download

    folder = snapshot_download("me/served", local_dir=tmp_path / "repository")
    monkeypatch.setattr(sys, "path", [folder, *sys.path])
    spec = importlib.util.spec_from_file_location("handler.EndpointHandler", tmp_path / "repository" / "handler.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (tmp_path / "repository" / "requirements.txt").read_text() == REQUIREMENTS
    return module.EndpointHandler(folder)


@pytest.fixture
def address(wav):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(wav)))
            self.end_headers()
            self.wfile.write(wav)

        def log_message(self, *words):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/clip.wav"
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_kind_of_request(handler, full, wav, address, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"'127\.0\.0\.1' is an address of this machine"):
        handler({"inputs": address})
    with pytest.raises(ValueError, match="not for a request to say"):
        handler({"inputs": address, "parameters": {"allow_private_addresses": True}})
    monkeypatch.setattr("hf_emo_dist.audio.fetching.is_public", lambda address: True)
    model, processor = load_emotion_model(full)
    pipe = SpeechEmotionDistributionPipeline(model=model, processor=processor)
    expected = pipe(wav)
    text = base64.b64encode(wav).decode()
    for data in (wav, {"inputs": wav}, {"inputs": text}, {"inputs": f"data:audio/wav;base64,{text}"},
                 {"inputs": address}, {"inputs": text, "parameters": None}):  # fmt: skip
        answer = handler(data)
        assert [entry["label"] for entry in answer] == [entry["label"] for entry in expected]
        np.testing.assert_allclose([e["score"] for e in answer], [e["score"] for e in expected], atol=1e-6)
    words = handler({"inputs": text, "parameters": {"transcript": "Well.", "top_k": 1}})
    assert words == pipe(wav, transcript="Well.", top_k=1) and len(words) == 1
    both = handler({"inputs": [text, base64.b64encode(b"no recording").decode()]})
    assert both[0] == handler(wav) and "error" in both[1]

    (tmp_path / "clip.wav").write_bytes(wav)
    for value in (str(tmp_path / "clip.wav"), "clip.wav", "file:///clip.wav", "", None, 3):
        with pytest.raises(ValueError, match=r"neither the bytes of a recording, nor base64"):
            handler({"inputs": value})
    with pytest.raises(ValueError, match=r"no inputs, only \['parameters'\]"):
        handler({"parameters": {}})
    with pytest.raises(TypeError, match="'voices' is no argument"):
        handler({"inputs": wav, "parameters": {"voices": 1}})


def test_only_on_request(hub, full, capsys):
    assert not any(file.path_in_repo == "handler.py" for file in push_model(full, "me/full", dry_run=True).files)
    assert main(["push", "model", str(full), "me/full", "--dry_run", "true", "--endpoint_handler", "true"]) == 0
    assert "handler.py" in capsys.readouterr().out
