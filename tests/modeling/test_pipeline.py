"""The pipeline: whatever shape a recording comes in, the model's own distribution comes out."""

import http.server
import itertools
import logging
import threading

import numpy as np
import pytest
import soundfile
import torch
from tiny_data import TINY_EMOTIONS, tiny_rows, tone
from transformers import AudioClassificationPipeline, pipeline

from hf_emo_dist.audio.clips import encode_flac, load_audio
from hf_emo_dist.audio.decoding import AudioError
from hf_emo_dist.modeling.pipeline import SpeechEmotionDistributionPipeline

WAVES = [tone(150 + 60 * i, 0.2 + 0.07 * i, seed=i) for i in range(9)]


@pytest.fixture
def pipe(tiny_model, tiny_processor):
    with torch.no_grad():  # an untrained head answers nearly the same to everything
        tiny_model.head.classifier.weight.mul_(40)
    return SpeechEmotionDistributionPipeline(tiny_model, tiny_processor)


def by_name(scores):
    return [{entry["label"]: entry["score"] for entry in scores}[name] for name in TINY_EMOTIONS]


@torch.no_grad()
def expected(pipe, wave, transcript=None):
    inputs = pipe.processor(audio=[wave], transcript=[transcript])
    return pipe.model(**inputs).logits.double().softmax(-1)[0].numpy()


def test_the_model_s_own_distribution_most_probable_first(pipe):
    scores = pipe(WAVES[0])
    assert [entry["score"] for entry in scores] == sorted((entry["score"] for entry in scores), reverse=True)
    assert sum(entry["score"] for entry in scores) == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(by_name(scores), expected(pipe, WAVES[0]), atol=1e-9)
    assert np.abs(expected(pipe, WAVES[0]) - expected(pipe, WAVES[4])).max() > 1e-3
    assert pipe(WAVES[0], top_k=1) == scores[:1]


def test_a_batch_of_8_answers_as_8_batches_of_1(pipe):
    one, eight = pipe(WAVES), pipe(WAVES, batch_size=8)
    np.testing.assert_allclose([by_name(s) for s in eight], [by_name(s) for s in one], atol=1e-5)
    np.testing.assert_allclose([by_name(s) for s in one], [expected(pipe, wave) for wave in WAVES], atol=1e-9)


class Decoder:
    """As torchcodec's."""

    def __init__(self, wave):
        self.wave = wave

    def get_all_samples(self):
        class Samples:
            data, sample_rate = torch.from_numpy(self.wave)[None], 16000

        return Samples


@pytest.fixture
def served(tmp_path):
    class Files(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_every_shape_of_input(pipe, tmp_path, served):
    wave = WAVES[2]
    soundfile.write(tmp_path / "a.flac", wave, 16000, subtype="PCM_16")
    data = encode_flac(wave)
    row = {"id": "x", "audio": {"bytes": data, "path": None}, "transcript": "Well.", "speaker": "s"}
    stored = expected(pipe, soundfile.read(tmp_path / "a.flac", dtype="float32")[0])
    exact = expected(pipe, wave)
    for value, wanted in [
        (str(tmp_path / "a.flac"), stored),
        (tmp_path / "a.flac", stored),
        (f"{served}/a.flac", stored),
        (data, stored),
        ({"bytes": data, "path": "a.flac"}, stored),
        ({"path": str(tmp_path / "a.flac"), "bytes": None}, stored),
        (wave, exact),
        (wave[None].repeat(2, 0), exact),
        (wave.tolist(), exact),
        (torch.from_numpy(wave), exact),
        ({"array": wave, "sampling_rate": 16000}, exact),
        ({"raw": torch.from_numpy(wave), "sampling_rate": 16000}, exact),
        (Decoder(wave), exact),
        ({"audio": Decoder(wave)}, exact),
        ({"audio": str(tmp_path / "a.flac")}, stored),
    ]:
        answer = pipe(value, allow_private_addresses=True)  # the server is on this machine
        np.testing.assert_allclose(by_name(answer), wanted, atol=1e-6, err_msg=str(type(value)))
    np.testing.assert_allclose(
        by_name(pipe(row)), expected(pipe, soundfile.read(tmp_path / "a.flac", dtype="float32")[0], "Well."), atol=1e-6
    )
    at_8_khz = {"array": wave[::2], "sampling_rate": 8000}
    np.testing.assert_allclose(by_name(pipe(at_8_khz)), expected(pipe, load_audio(at_8_khz)), atol=1e-9)
    assert pipe(wave[::2], sampling_rate=8000) == pipe(at_8_khz)


def test_transcripts_are_read_where_they_are_given(pipe):
    with_words = pipe(WAVES[0], transcript="I am so glad.")
    np.testing.assert_allclose(by_name(with_words), expected(pipe, WAVES[0], "I am so glad."), atol=1e-9)
    many = pipe([WAVES[0], WAVES[1]], transcript=["I am so glad.", None], batch_size=2)
    np.testing.assert_allclose(by_name(many[0]), by_name(with_words), atol=1e-5)
    np.testing.assert_allclose(by_name(many[1]), expected(pipe, WAVES[1]), atol=1e-5)
    with pytest.raises(ValueError, match="2 inputs but 1 values"):
        pipe(WAVES[:2], transcript=["a"])
    with pytest.raises(ValueError, match="one string for several inputs"):
        pipe(WAVES[:2], transcript="a")


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_long_recording_in_windows(pipe, batch_size):
    wave = np.concatenate([tone(150, 50), tone(600, 45)])
    answer = pipe({"array": wave, "sampling_rate": 16000}, return_track=True, batch_size=batch_size)
    track = answer["track"]
    assert len(track) == 4 and track[0]["start"] == 0 and track[-1]["end"] == pytest.approx(95)
    assert all(a["end"] == b["start"] and b["end"] - b["start"] <= 30 for a, b in itertools.pairwise(track))
    pieces = np.array_split(wave, 4)
    parts = np.stack([expected(pipe, piece) for piece in pieces])
    np.testing.assert_allclose([by_name(window["distribution"]) for window in track], parts, atol=1e-5)
    lengths = np.array([len(piece) for piece in pieces])
    np.testing.assert_allclose(by_name(answer["distribution"]), lengths @ parts / lengths.sum(), atol=1e-5)
    short = pipe(wave[: 16000 * 3], window_seconds=1.0, return_track=True)
    assert len(short["track"]) == 3
    with pytest.raises(ValueError, match=r"between 0\.1 and 30"):
        pipe(wave, window_seconds=31)


def test_a_bad_file_fails_by_name_and_the_others_answer(pipe, tmp_path, caplog, served):
    soundfile.write(tmp_path / "a.wav", WAVES[0], 16000)
    (tmp_path / "b.wav").write_text("these are words")
    soundfile.write(tmp_path / "short.wav", WAVES[0][:100], 16000)
    good, bad = str(tmp_path / "a.wav"), str(tmp_path / "b.wav")
    files = [
        good,
        bad,
        str(tmp_path / "none.wav"),
        str(tmp_path / "short.wav"),
        f"{served}/gone.wav?signature=abc",
        good,
    ]
    with caplog.at_level(logging.WARNING, "hf_emo_dist"):
        answers = pipe(files, batch_size=4, allow_private_addresses=True)
    assert [isinstance(answer, list) for answer in answers] == [True, False, False, False, False, True]
    for answer, reason in zip(answers[1:5], ["the file is text", "cannot read", "no audio token", "404"], strict=True):
        assert reason in answer["error"] and "signature" not in answer["error"]
    assert "b.wav" in answers[1]["error"] and "4 inputs could not be read" in caplog.text
    with pytest.raises(AudioError, match=r"b\.wav"):
        pipe(bad)
    with pytest.raises(AudioError, match=r"b\.wav"):
        pipe(files, on_error="raise")


def test_data_sets_and_generators_stream(pipe, tiny_validation):
    answers = pipe(tiny_validation, batch_size=3)
    assert iter(answers) is answers
    answers = list(answers)
    one_by_one = [pipe(row) for row in tiny_rows(8, seed=2)]
    np.testing.assert_allclose([by_name(a) for a in answers], [by_name(a) for a in one_by_one], atol=1e-5)
    seen = []

    def endless():
        while True:
            seen.append(1)
            yield WAVES[0]

    assert len(next(pipe(endless()))) == 3 and len(seen) == 1
    assert pipe([]) == []


def test_wrong_arguments_are_named(pipe, tiny_model, tiny_processor):
    with pytest.raises(TypeError, match="'topk' is no argument"):
        pipe(WAVES[0], topk=1)
    with pytest.raises(ValueError, match="top_k=0"):
        pipe(WAVES[0], top_k=0)
    with pytest.raises(ValueError, match="on_error"):
        pipe(WAVES[0], on_error="ignore")
    with pytest.raises(ValueError, match="what was loaded is a Linear"):
        SpeechEmotionDistributionPipeline(torch.nn.Linear(1, 1))
    tiny_processor.emotions = ["sad", "happy", "angry"]
    with pytest.raises(ValueError, match="one of the two files was changed"):
        SpeechEmotionDistributionPipeline(tiny_model, tiny_processor)


def test_both_tasks_by_name(pipe, tmp_path, tiny_model, tiny_processor):
    pipe.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py"))  # no code that somebody would have to trust
    for task in ("speech-emotion-distribution", "audio-classification"):
        again = pipeline(task, model=str(tmp_path))
        assert type(again) is SpeechEmotionDistributionPipeline
        np.testing.assert_allclose(by_name(again(WAVES[0])), by_name(pipe(WAVES[0])), atol=1e-6)
    assert len(pipeline("audio-classification", model=str(tmp_path), top_k=2)(WAVES[0])) == 2
    again = pipeline("speech-emotion-distribution", model=tiny_model, processor=tiny_processor, batch_size=2, top_k=1)
    assert [len(answer) for answer in again(WAVES[:3])] == [1, 1, 1]
    with pytest.raises(ValueError, match="pass processor="):
        tiny_model.loaded_from = None
        pipeline("audio-classification", model=tiny_model, feature_extractor=tiny_processor.feature_extractor)


def test_an_adapter_of_peft(tiny_model, tiny_processor):
    from peft import get_peft_model

    from hf_emo_dist.training.lora import emotion_lora_config

    model = get_peft_model(tiny_model, emotion_lora_config(init_lora_weights=False)).eval()
    pipe = SpeechEmotionDistributionPipeline(model, tiny_processor)
    np.testing.assert_allclose(by_name(pipe(WAVES[0])), expected(pipe, WAVES[0]), atol=1e-9)


def test_other_models_keep_transformers_own_pipeline():
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=2,
        classifier_proj_size=8, conv_dim=[8], conv_kernel=[10], conv_stride=[5], num_feat_extract_layers=1,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    pipe = pipeline(
        "audio-classification",
        model=Wav2Vec2ForSequenceClassification(config),
        feature_extractor=Wav2Vec2FeatureExtractor(),
    )
    assert type(pipe) is AudioClassificationPipeline and len(pipe(WAVES[0])) == 2


def test_half_precision(tiny_backbone, tiny_processor, tmp_path, tiny_model):
    tiny_model.save_pretrained(tmp_path)
    tiny_processor.save_pretrained(tmp_path)
    half = pipeline("speech-emotion-distribution", model=str(tmp_path), dtype=torch.bfloat16)
    assert half.model.model.dtype == torch.bfloat16
    assert sum(by_name(half(WAVES[0]))) == pytest.approx(1, abs=1e-6)
