"""A hub that takes the connection and never answers is told in seconds, whatever is loaded from it."""

import socket
import threading

import pytest

from hf_emo_dist import _hub
from hf_emo_dist.data.loading import load_emotion_dataset


def a_model(name):
    from hf_emo_dist import load_emotion_model

    load_emotion_model(name)


def a_backbone(name):
    from hf_emo_dist import EmotionDistributionModel

    EmotionDistributionModel.from_pretrained(name, emotions=["angry", "sad"])


def a_processor(name):
    from hf_emo_dist import EmotionDistributionProcessor

    EmotionDistributionProcessor.from_pretrained(name, emotions=["angry", "sad"])


def an_account(name):
    from hf_emo_dist.hub.commit import account

    account(name)


@pytest.fixture
def silent(monkeypatch):
    """A server that accepts whoever comes, and says nothing."""
    from huggingface_hub import constants

    server = socket.create_server(("127.0.0.1", 0))
    held = []

    def accept():
        try:
            while True:
                held.append(server.accept()[0])
        except OSError:
            return

    threading.Thread(target=accept, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(_hub, "WAIT_S", 0.3)
    yield constants.ENDPOINT
    for connection in (*held, server):
        connection.close()


@pytest.mark.parametrize("load", [load_emotion_dataset, a_model, a_backbone, a_processor, an_account])
def test_a_silent_hub_is_told_soon(silent, load):
    with pytest.raises((OSError, ValueError)) as error:
        load("somebody/something")
    told = str(error.value)
    assert f"the Hub ({silent}) has not answered for 0.3 s" in told and "HF_HUB_OFFLINE=1" in told


def test_nothing_is_asked_of_a_path_and_a_refusal_is_an_answer(silent, monkeypatch, tmp_path):
    _hub.check_hub_answers(tmp_path)
    _hub.check_hub_answers("./nothing")
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as closed:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
    _hub.check_hub_answers("somebody/something")
    monkeypatch.setattr(constants, "ENDPOINT", silent)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    _hub.check_hub_answers("somebody/something")
