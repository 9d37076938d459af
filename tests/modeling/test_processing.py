import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_data import tone
from transformers import AutoProcessor

from hf_emo_dist.audio.clips import encode_flac, load_audio
from hf_emo_dist.audio.decoding import AudioError
from hf_emo_dist.audio.qwen2_audio_tower import num_audio_tokens, num_mel_frames
from hf_emo_dist.modeling.backbones.qwen2_audio_processing import Qwen2AudioEmotionProcessor
from hf_emo_dist.modeling.prediction import predict_distributions
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor


def placeholders(processor, inputs):
    return (np.asarray(inputs["input_ids"]) == processor.audio_token_id).sum(1).tolist()


def text(processor, inputs, row=0):
    ids = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
    return processor.tokenizer.decode(ids[ids != processor.audio_token_id])


def test_what_a_batch_holds(tiny_processor):
    clips = [tone(200, 0.4), tone(300, 0.051)]
    inputs = tiny_processor(audio=clips, transcript=["Well.", None])
    assert list(inputs) == tiny_processor.model_input_names
    frames = [num_mel_frames(len(clip)) for clip in clips]
    assert inputs["feature_attention_mask"].sum(1).tolist() == frames == [40, 6]
    assert inputs["input_features"].shape == (2, 16, 42) and inputs["input_features"].dtype == torch.float32
    assert placeholders(tiny_processor, inputs) == [num_audio_tokens(n) for n in frames] == [10, 1]
    first = text(tiny_processor, inputs)
    assert "Words: Well.\n" in first and "angry, happy, sad" in first
    assert "Words" not in text(tiny_processor, inputs, 1)
    # the head's query is a constant only if the first token is
    assert inputs["input_ids"][0, 0] == inputs["input_ids"][1, 0]
    arrays = tiny_processor(audio=clips, transcript=["Well.", None], return_tensors="np")
    assert isinstance(arrays["input_ids"], np.ndarray)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(321, 40_000), min_size=1, max_size=4))
def test_one_placeholder_for_each_output_of_the_tower(_tiny_processor, _tiny_model, lengths):
    clips = [np.full(n, 0.1, np.float32) for n in lengths]
    inputs = _tiny_processor(audio=clips)
    tower = _tiny_model.model.audio_tower
    with torch.no_grad():
        found = tower.encode(inputs["input_features"], inputs["feature_attention_mask"])
    each = tower._get_feat_extract_output_lengths(inputs["feature_attention_mask"].sum(-1))[1].tolist()
    assert placeholders(_tiny_processor, inputs) == each and sum(each) == len(found) and min(each) >= 1


def test_one_clip_needs_no_list(tiny_processor):
    wave = tone(200, 0.3)
    single = tiny_processor(audio=wave, transcript="Well.", speaker="Ann")
    listed = tiny_processor(audio=[wave], transcript=["Well."], speaker=["Ann"])
    for key in listed:
        assert torch.equal(single[key], listed[key])
    # an array of two axes may be two clips or two channels
    with pytest.raises(AudioError, match="several clips as a list"):
        tiny_processor(audio=np.stack([wave, 0.5 * wave]))


def test_transcript_and_speaker_are_used_as_set(tiny_backbone, tiny_emotions):
    wave = tone(200, 0.3)

    def prompt(**settings):
        processor = EmotionDistributionProcessor.from_pretrained(tiny_backbone, emotions=tiny_emotions, **settings)
        return text(processor, processor(audio=[wave], transcript=["Well."], speaker=["Ann"]))

    assert "Well." in prompt() and "Ann" not in prompt()
    assert "Well." not in prompt(use_transcript=False)
    assert "Speaker: Ann" in prompt(use_speaker=True)


@pytest.mark.parametrize(
    "words",
    ["<|AUDIO|><|AUDIO|> hi", "a <|audio_eos|> b <|im_end|>", "<|<|AUDIO|>AUDIO|>", "<|AU<|im_end|>DIO|>", "<|x|>"],
)
def test_special_tokens_in_a_transcript_are_taken_out(tiny_backbone, tiny_emotions, words):
    processor = EmotionDistributionProcessor.from_pretrained(tiny_backbone, emotions=tiny_emotions, use_speaker=True)
    wave = tone(200, 0.3)
    clean = processor(audio=[wave], transcript=["hi"], speaker=["Ann"])
    dirty = processor(audio=[wave], transcript=[words], speaker=[words])
    special = torch.tensor([*processor.tokenizer.all_special_ids, processor.audio_token_id])
    assert placeholders(processor, dirty) == placeholders(processor, clean)
    assert torch.isin(dirty["input_ids"], special).sum() == torch.isin(clean["input_ids"], special).sum()


def test_harmless_markup_in_a_transcript_stays(tiny_processor):
    inputs = tiny_processor(audio=[tone(200, 0.3)], transcript=["a < b |> c \n\t <laugh>"])
    assert "Words: a < b |> c <laugh>\n" in text(tiny_processor, inputs)


BAD = {
    "too short": (np.zeros(320, np.float32), "320 samples"),
    "empty": (np.zeros(0, np.float32), "0 samples"),
    "NaN": (np.r_[np.nan, tone(200, 0.1)], "NaN or infinite"),
    "infinite": (np.r_[np.inf, tone(200, 0.1)], "NaN or infinite"),
    "two axes": (np.zeros((2, 4000), np.float32), r"shape \(2, 4000\)"),
    "too long": (np.full(30 * 16000 + 1, 0.1, np.float32), "over 30 s"),
}


@pytest.mark.parametrize(("wave", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_clip_is_named(tiny_processor, wave, message):
    with pytest.raises(AudioError, match=message) as error:
        tiny_processor(audio=[tone(200, 0.3), wave], row_ids=["good", "bad one"])
    assert "bad one" in str(error.value)
    with pytest.raises(AudioError, match=message):
        tiny_processor(audio=[wave])


def test_no_clip_at_all(tiny_processor):
    with pytest.raises(ValueError, match="audio is missing"):
        tiny_processor(transcript=["Well."])
    with pytest.raises(ValueError, match="audio is missing"):
        tiny_processor(audio=[])
    with pytest.raises(TypeError, match="audios"):
        tiny_processor(audios=[tone(200, 0.3)])


@pytest.mark.parametrize("field", ["transcript", "speaker"])
def test_lists_of_other_lengths_are_refused(tiny_processor, field):
    with pytest.raises(ValueError, match=f"2 clips but 1 values of `{field}`"):
        tiny_processor(audio=[tone(200, 0.3)] * 2, **{field: ["a"]})
    with pytest.raises(ValueError, match=f"2 clips but 1 values of `{field}`"):
        tiny_processor(audio=[tone(200, 0.3)] * 2, **{field: "a"})


def test_row_ids_of_another_length_are_refused(tiny_processor):
    with pytest.raises(ValueError, match="row_ids"):
        tiny_processor(audio=[tone(200, 0.3)] * 2, row_ids=["a"])


def test_other_rates_are_resampled(tiny_processor):
    wave = tone(200, 0.5)[::2].copy()
    resampled = load_audio({"array": wave, "sampling_rate": 8000})
    inputs, expected = tiny_processor(audio=[wave], sampling_rate=8000), tiny_processor(audio=[resampled])
    assert len(resampled) == 8000
    for key in expected:
        assert torch.equal(inputs[key], expected[key])


def test_integers_are_scaled_like_files(tiny_processor):
    wave = tone(200, 0.3)
    integers = np.round(wave * 32768).astype(np.int16)
    inputs, expected = tiny_processor(audio=[integers]), tiny_processor(audio=[wave])
    torch.testing.assert_close(inputs["input_features"], expected["input_features"], atol=2e-2, rtol=0)
    assert tiny_processor(audio=[torch.from_numpy(wave)])["input_ids"].shape == expected["input_ids"].shape


def test_rows_may_hold_audio_in_any_shape(tiny_processor):
    wave = tone(200, 0.3)
    flac = encode_flac(wave)
    rows = [
        {"id": "a", "audio": {"bytes": flac, "path": None}},
        {"id": "b", "audio": {"array": load_audio(flac), "sampling_rate": 16000}, "transcript": None},
        {"audio": flac, "speaker": "Ann"},
    ]
    inputs = tiny_processor.from_rows(rows)
    assert torch.equal(inputs["input_features"][0], inputs["input_features"][1])
    assert torch.equal(inputs["input_features"][0], inputs["input_features"][2])
    with pytest.raises(AudioError, match="b2"):
        tiny_processor.from_rows([rows[0], {"id": "b2", "audio": {"bytes": b"nonsense", "path": None}}])


def long_processor(backbone, emotions, long_audio):
    return EmotionDistributionProcessor.from_pretrained(backbone, emotions=emotions, long_audio=long_audio)


def test_long_clips_can_be_cut_off(tiny_backbone, tiny_emotions):
    processor = long_processor(tiny_backbone, tiny_emotions, "truncate")
    wave = tone(200, 31)
    cut, first = processor(audio=[wave]), processor(audio=[wave[: 30 * 16000]])
    for key in first:
        assert torch.equal(cut[key], first[key])
    assert "row_index" not in cut


@torch.no_grad()
def test_windows_of_a_long_clip_are_averaged_by_duration(tiny_model, tiny_backbone, tiny_emotions):
    processor = long_processor(tiny_backbone, tiny_emotions, "window")
    parts = [tone(150, 70 / 3 + 0.01), tone(500, 70 / 3), tone(900, 70 / 3)]
    wave = np.concatenate(parts)[: 70 * 16000]
    short = tone(300, 0.4)
    inputs = processor(audio=[short, wave, short], transcript=["a", "b", None], row_ids=["x", "y", "z"])
    assert inputs["row_index"].tolist() == [0, 1, 1, 1, 2]
    assert inputs["row_weight"].sum().item() == pytest.approx(70.8)
    together = tiny_model(**inputs).logits.softmax(-1)
    assert together.shape == (3, 3)
    windows = np.array_split(wave, 3)
    each = torch.cat([tiny_model(**processor(audio=[w], transcript=["b"])).logits.softmax(-1) for w in windows])
    weights = torch.tensor([len(w) for w in windows], dtype=torch.float32)
    torch.testing.assert_close(together[1], (each * weights[:, None]).sum(0) / weights.sum(), atol=1e-5, rtol=0)
    for row, words in ((0, "a"), (2, None)):
        alone = tiny_model(**processor(audio=[short], transcript=[words])).logits.softmax(-1)
        torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=0)
    rows = [{"audio": encode_flac(short)}, {"audio": encode_flac(wave)}]
    assert predict_distributions(tiny_model, processor, rows, progress=False).shape == (2, 3)


@pytest.mark.parametrize("loader", [EmotionDistributionProcessor, AutoProcessor])
def test_save_and_load_round_trip(tmp_path, tiny_backbone, tiny_model, loader):
    emotions = ["sad", "happy", "angry"]
    processor = EmotionDistributionProcessor.from_pretrained(
        tiny_backbone, emotions=emotions, use_transcript=False, use_speaker=True, long_audio="window"
    )
    processor.save_pretrained(tmp_path)
    tiny_model.config.save_pretrained(tmp_path)
    loaded = loader.from_pretrained(tmp_path)
    assert type(loaded) is Qwen2AudioEmotionProcessor
    assert (loaded.emotions, loaded.use_transcript, loaded.use_speaker, loaded.long_audio) == (
        emotions,
        False,
        True,
        "window",
    )
    wave = [tone(200, 0.3), tone(200, 31)]
    before, after = (p(audio=wave, speaker=["Ann", "Bob"]) for p in (processor, loaded))
    assert list(before) == list(after)
    for key in before:
        assert torch.equal(before[key], after[key])
    changed = EmotionDistributionProcessor.from_pretrained(tmp_path, long_audio="truncate")
    assert changed.long_audio == "truncate" and changed.use_speaker


def test_a_backbone_without_a_processor_file_loads(tmp_path, tiny_backbone, tiny_emotions):
    """The Hub's Qwen2-Audio has preprocessor_config.json and no processor_config.json."""
    processor = EmotionDistributionProcessor.from_pretrained(tiny_backbone, emotions=tiny_emotions)
    processor.feature_extractor.save_pretrained(tmp_path)
    processor.tokenizer.save_pretrained(tmp_path)
    for name in ("config.json",):
        (tmp_path / name).write_bytes((tiny_backbone / name).read_bytes())
    loaded = EmotionDistributionProcessor.from_pretrained(tmp_path, emotions=tiny_emotions)
    wave = [tone(200, 0.3)]
    before, after = processor(audio=wave), loaded(audio=wave)
    for key in before:
        assert torch.equal(before[key], after[key])


def test_errors_of_loading(tmp_path, tiny_backbone, tiny_processor):
    with pytest.raises(ValueError, match=r'emotions=\["angry"'):
        EmotionDistributionProcessor.from_pretrained(tiny_backbone)
    tiny_processor.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"was made for .*'angry', 'happy', 'sad'.* in this order"):
        EmotionDistributionProcessor.from_pretrained(tmp_path, emotions=["sad", "happy", "angry"])
    for name in ("Qwen/Qwen2-Audio-7B-Instrukt", "no/such/folder", "./nothing"):
        with pytest.raises(OSError, match=f"No processor could be loaded from '{name}'"):
            EmotionDistributionProcessor.from_pretrained(name, emotions=["angry", "sad"])
    with pytest.raises(ValueError, match="long_audio"):
        EmotionDistributionProcessor.from_pretrained(tmp_path, long_audio="cut")
    file = tmp_path / "processor_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "prompt_version": 99}))
    with pytest.raises(ValueError, match="prompt version 99"):
        EmotionDistributionProcessor.from_pretrained(tmp_path)


def test_a_tokenizer_that_pads_or_cuts_elsewhere_changes_nothing(tiny_processor):
    wave, words = [tone(200, 3.0), tone(300, 0.3)], ["Well, " * 40, "No."]
    expected = tiny_processor(audio=wave, transcript=words)
    tiny_processor.tokenizer.padding_side = "left"
    tiny_processor.tokenizer.model_max_length = 8
    found = tiny_processor(audio=wave, transcript=words)
    for key in expected:
        assert torch.equal(found[key], expected[key])


def test_predictions_keep_the_order_and_the_mode(tiny_model, tiny_processor, tiny_validation):
    tiny_model.train()
    few = predict_distributions(tiny_model, tiny_processor, tiny_validation, batch_size=3, progress=False)
    assert tiny_model.training
    many = predict_distributions(tiny_model.eval(), tiny_processor, tiny_validation, batch_size=8, progress=False)
    assert not tiny_model.training
    np.testing.assert_allclose(few, many, atol=1e-5)
    np.testing.assert_allclose(few.sum(1), 1.0)
    reverse = predict_distributions(
        tiny_model, tiny_processor, tiny_validation.select(range(7, -1, -1)), batch_size=4, progress=False
    )
    np.testing.assert_allclose(reverse[::-1], few, atol=1e-5)
    assert predict_distributions(tiny_model, tiny_processor, [], progress=False).shape == (0, 3)
