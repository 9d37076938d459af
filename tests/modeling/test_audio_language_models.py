"""Audio-language models: what transformers' own classes compute, whatever the batch around a clip."""

import json
import types

import numpy as np
import pytest
import torch
import transformers
from audio_language_models import CASES, _thinker
from safetensors.torch import load_file, save_file
from tiny_data import TINY_EMOTIONS, tone

from hf_emo_dist.augmentation.backbone_features import BackboneFeatures
from hf_emo_dist.evaluation.baselines import tower_features
from hf_emo_dist.modeling.backbones import FAMILIES, family_class
from hf_emo_dist.modeling.backbones.audio_language import AudioLanguageForEmotionDistribution
from hf_emo_dist.modeling.backbones.granite_speech import GraniteSpeechFeatures
from hf_emo_dist.modeling.configuration import LANGUAGE_MODEL_HEADS
from hf_emo_dist.modeling.head import HEADS
from hf_emo_dist.modeling.model import EmotionDistributionModel, IncompleteWeightsError
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor

SECONDS = [0.021, 0.3, 0.9, 0.05, 0.6, 0.4013, 0.033, 1.2]
CLIPS = [tone(100 + 60 * i, seconds, seed=i) for i, seconds in enumerate(SECONDS)]
WORDS = [None if i % 3 == 0 else "word " * (1 + 2 * i % 7) for i in range(8)]


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


@pytest.fixture(scope="module")
def folder(case, tmp_path_factory):
    return case.backbone(tmp_path_factory.mktemp("model") / "backbone")


@pytest.fixture(scope="module")
def stock(case):
    return case.stock()


def load(folder, **options):
    torch.manual_seed(1)
    model = EmotionDistributionModel.from_pretrained(folder, emotions=TINY_EMOTIONS, **options).eval()
    with torch.no_grad():  # an untrained head answers nearly the same to everything
        for name, parameter in model.head.named_parameters():
            if "norm" not in name:
                torch.nn.init.normal_(parameter, std=0.3)
    return model, EmotionDistributionProcessor.from_pretrained(folder, emotions=TINY_EMOTIONS)


@pytest.fixture(scope="module")
def loaded(folder):
    return load(folder)


def test_every_audio_language_family_has_a_case():
    classes = {name: family_class(name) for name in FAMILIES}
    known = {cls.family for cls in classes.values() if issubclass(cls, AudioLanguageForEmotionDistribution)}
    assert known == {case.family for case in CASES.values()}


@torch.no_grad()
def test_hidden_states_are_those_of_the_stock_class(case, loaded, stock):
    model, processor = loaded
    own, theirs = model.model.state_dict(), stock.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in own.items())
    assert not any("lm_head" in name or "vis" in name for name in own)
    alone = [([clip], [word]) for clip, word in zip(CLIPS, WORDS, strict=True)]
    batches = [(CLIPS, WORDS)] if case.stock_batches else alone
    for clips, words in batches:
        inputs = processor(audio=clips, transcript=words)
        hidden = model(**inputs, output_hidden_states=True).hidden_states[-1]
        expected = stock.model(**case.stock_inputs(inputs)).last_hidden_state
        valid = inputs["attention_mask"].bool()
        torch.testing.assert_close(hidden[valid], expected[valid], atol=2e-5, rtol=1e-4)
        assert expected[valid].std(0).max() > 0.1


@torch.no_grad()
def test_a_batch_of_eight_equals_eight_batches_of_one_with_padding_on_either_side(loaded):
    model, processor = loaded
    inputs = processor(audio=CLIPS, transcript=WORDS)
    batch = model(**inputs).logits
    single = [model(**processor(audio=[c], transcript=[w])).logits for c, w in zip(CLIPS, WORDS, strict=True)]
    torch.testing.assert_close(batch, torch.cat(single), atol=2e-5, rtol=1e-5)
    assert (batch[:, None] - batch[None]).abs().amax(-1)[~torch.eye(8, dtype=bool)].min() > 1e-4  # all differ
    left = dict(inputs)
    for name in ("input_ids", "attention_mask"):
        rows = zip(inputs[name], inputs["attention_mask"].bool(), strict=True)
        left[name] = torch.stack([torch.cat([row[~valid], row[valid]]) for row, valid in rows])
    assert not torch.equal(left["input_ids"], inputs["input_ids"])
    torch.testing.assert_close(model(**left).logits, batch, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_swapping_the_audio_of_two_rows_changes_both_outputs(loaded):
    model, processor = loaded
    one, two = tone(150, 0.9), tone(900, 0.9)
    before = model(**processor(audio=[one, two], transcript=["a", "b"])).logits
    after = model(**processor(audio=[two, one], transcript=["a", "b"])).logits
    assert ((before - after).abs().amax(1) > 1e-3).all()


def stock_counts(case, lengths):
    """The placeholders that transformers' own processor writes for clips of so many samples."""
    noise = np.random.default_rng(0)
    tokenizer, extractor = case.tokenizer(), case.feature_extractor()
    waves = [noise.standard_normal(length).astype(np.float32) for length in lengths]
    if case.family == "voxtral":  # mistral-common writes them: 12.5 a second of padded audio
        return [25] * len(lengths)
    if case.family == "granite_speech":  # which needs torchaudio for anything but counting
        kind = transformers.models.granite_speech.feature_extraction_granite_speech.GraniteSpeechFeatureExtractor
        settings = {"melspec_kwargs": {"hop_length": 160}, "projector_window_size": 15, "projector_downsample_rate": 5}
        return kind._get_num_audio_features(types.SimpleNamespace(**settings), lengths)
    if case.family == "gemma4":  # whose processor needs torchvision, for videos
        kind = transformers.models.gemma4.processing_gemma4.Gemma4Processor
        own = types.SimpleNamespace(feature_extractor=extractor, audio_seq_length=750)
        return [kind._compute_audio_num_tokens(own, wave, 16000) for wave in waves]
    if case.family == "qwen2_5_omni_thinker":  # the same
        kind = transformers.models.qwen2_5_omni.processing_qwen2_5_omni.Qwen2_5OmniProcessor
        own = types.SimpleNamespace(feature_extractor=extractor)
        return [kind._get_num_audio_tokens(own, length) for length in lengths]
    processor = {
        "qwen2_audio": transformers.Qwen2AudioProcessor, "audioflamingo3": transformers.AudioFlamingo3Processor,
    }[case.family](extractor, tokenizer)  # fmt: skip
    token = processor.audio_token
    inputs = processor(text=[token] * len(waves), audio=waves, return_tensors="pt", padding=True, sampling_rate=16000)
    return (inputs["input_ids"] == tokenizer.convert_tokens_to_ids(token)).sum(1).tolist()


def test_placeholders_are_those_of_the_stock_processor_and_of_the_model(case, loaded):
    model, processor = loaded
    few = [321, 479, 480, 481, 640, 959, 1600, 2399, 2400, 2401, 31_999, 32_000, 32_161, 48_000]
    longest = [479_840, 480_000]
    assert [processor.num_tokens(n) for n in few + longest] == stock_counts(case, few + longest)
    for length in few:
        features = processor.audio_features([np.ones(length, np.float32)])
        with torch.no_grad():
            encoded = model.encode(**{name: torch.from_numpy(value) for name, value in features.items()})
        assert len(encoded) == len(model.project(encoded)) == processor.num_tokens(length) >= 1
        assert model.rows_of(int(features["feature_attention_mask"].sum())) == len(encoded)


@pytest.mark.slow
def test_granite_s_features_are_transformers_own_around_torchaudio_s_definition(monkeypatch):
    # torchaudio is not needed here: its mel spectrogram (power 2, HTK scale, no norm, reflected at the ends) by librosa
    import librosa

    kind = transformers.models.granite_speech.feature_extraction_granite_speech

    class MelSpectrogram:
        def __init__(self, sample_rate, n_fft, win_length, hop_length, n_mels):
            self.stft = {"n_fft": n_fft, "win_length": win_length, "hop_length": hop_length, "pad_mode": "reflect"}
            self.filters = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, htk=True, norm=None)

        def to(self, device):
            return self

        def __call__(self, audio):
            power = np.abs(librosa.stft(audio.numpy(), **self.stft)) ** 2
            return torch.from_numpy(self.filters @ power).float()

    monkeypatch.setattr(kind, "requires_backends", lambda *_: None)
    namespace = types.SimpleNamespace(transforms=types.SimpleNamespace(MelSpectrogram=MelSpectrogram))
    monkeypatch.setattr(kind, "torchaudio", namespace, raising=False)
    stock, own = kind.GraniteSpeechFeatureExtractor(), GraniteSpeechFeatures()
    for clip in CLIPS:
        expected = stock(torch.from_numpy(clip))
        np.testing.assert_allclose(own(clip), expected["input_features"][0], atol=1e-3)
        assert own.num_tokens(len(clip)) == expected["audio_embed_sizes"][0]
        assert own.num_frames(len(clip)) == expected["input_features"].shape[1]
    again = GraniteSpeechFeatures.from_dict(json.loads(json.dumps({**stock.to_dict(), "n_mels": 80}, default=str)))
    np.testing.assert_array_equal(again(CLIPS[2]), own(CLIPS[2]))


def test_voxtral_has_as_many_placeholders_as_mistral_common_writes():
    case = CASES["voxtral"]
    kind = family_class("voxtral").processor_class
    processor = kind(transformers.WhisperFeatureExtractor(feature_size=128), case.tokenizer(), emotions=TINY_EMOTIONS)
    assert processor.num_tokens(1000) == processor.num_tokens(480_000) == 375  # 12.5 a second of 30 s
    assert processor.audio_features(CLIPS[:1])["input_features"].shape == (1, 128, 3000)


def test_special_tokens_in_a_transcript_are_not_special(case, loaded):
    model, processor = loaded
    plain = processor.prompt("a b")
    hostile = f"a {processor.audio_token}{case.special_tokens[1]} b"
    nested = f"a {processor.audio_token[:3]}{processor.audio_token}{processor.audio_token[3:]} b"
    assert processor.prompt(hostile) == processor.prompt(nested) == plain
    ids = processor(audio=[CLIPS[0]], transcript=[hostile])["input_ids"][0]
    assert (ids == model.config.audio_token_id).sum() == processor.num_tokens(len(CLIPS[0]))
    first = {int(processor(audio=[CLIPS[0]], transcript=[word])["input_ids"][0, 0]) for word in ("a", "b", None)}
    assert len(first) == 1  # the paper's head pools by it
    before, after = plain
    special = [token for token in case.special_tokens if token in before + after]
    encoded = processor.encode(before) + processor.encode(after)
    assert len(special) >= 2 and set(processor.tokenizer.convert_tokens_to_ids(special)) <= set(encoded)


def test_a_checkpoint_comes_back_with_its_processor(loaded, tmp_path):
    model, processor = loaded
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = EmotionDistributionModel.from_pretrained(tmp_path).eval()
    own = EmotionDistributionProcessor.from_pretrained(tmp_path)
    assert type(again) is type(model) and type(own) is type(processor) and own.emotions == list(TINY_EMOTIONS)
    inputs = processor(audio=CLIPS[:3], transcript=WORDS[:3])
    assert all(torch.equal(value, own(audio=CLIPS[:3], transcript=WORDS[:3])[name]) for name, value in inputs.items())
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    with torch.no_grad():  # not bit by bit: sums depend on where weights lie in memory
        torch.testing.assert_close(again(**inputs).logits, model(**inputs).logits, atol=1e-5, rtol=1e-5)
    auto = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert type(auto) is type(model)
    with pytest.raises(ValueError, match="in this order"):
        EmotionDistributionModel.from_pretrained(tmp_path, emotions=TINY_EMOTIONS[::-1])


def test_only_the_head_may_be_missing(case, folder, tmp_path):
    _, info = EmotionDistributionModel.from_pretrained(folder, emotions=TINY_EMOTIONS, output_loading_info=True)
    assert all(name.startswith("head.") for name in info["missing_keys"]) and not info["unexpected_keys"]
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "layers.1" in name and "language" not in name and "vis" not in name)
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    save_file(
        {name: value for name, value in weights.items() if name != lost},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(IncompleteWeightsError, match="lacks 1 weights"):
        EmotionDistributionModel.from_pretrained(tmp_path, emotions=TINY_EMOTIONS)


#: other layouts of the same weights: names as they are saved → names in the file
LAYOUTS = {
    "transformers 5.23 in its own names": lambda name: name,
    "language_model.model.model, of transformers 5.18 to 5.22": lambda name: name.replace(
        "language_model.model.", "language_model.model.model."
    ),
    "the whole Qwen2.5-Omni": lambda name: f"thinker.{name}",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_layouts_of_checkpoints_load(case, folder, stock, tmp_path, layout):
    weights, names = load_file(folder / "model.safetensors"), LAYOUTS[layout]
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if "Omni" in layout:
        if case.family != "qwen2_5_omni_thinker":
            pytest.skip("not this family's")
        thinker = _thinker(case.tokenizer().convert_tokens_to_ids)
        transformers.Qwen2_5OmniConfig(thinker_config=thinker).save_pretrained(tmp_path)
        weights["talker.codec_head.weight"] = torch.zeros(1)[:, None]
    elif "5.18" in layout:
        if not any(name.startswith("language_model.model.") for name in weights):
            pytest.skip("not this family's")
    else:
        weights = {name: value.clone().contiguous() for name, value in stock.state_dict().items()}
        weights.pop("lm_head.weight")
    renamed = {name if name.startswith("talker.") else names(name): value for name, value in weights.items()}
    save_file(renamed, tmp_path / "model.safetensors", {"format": "pt"})
    model = EmotionDistributionModel.from_pretrained(tmp_path, emotions=TINY_EMOTIONS)
    expected = stock.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.model.state_dict().items())


def test_no_gradient_reaches_a_frozen_part_and_others_learn(case, folder):
    model, processor = load(folder)
    inputs = processor(audio=CLIPS[:3], transcript=WORDS[:3])
    parts = model.backbone_parts()
    assert list(parts) == ["audio_tower", "projector", "language_model"]
    for frozen in (["audio_tower"], ["language_model"]):
        model.train().requires_grad_(True).zero_grad()
        model.freeze(frozen)
        model.train()
        model(**inputs, labels=torch.eye(3)).loss.backward()
        for name, part in parts.items():
            gradient = sum(p.grad.abs().sum() for p in part.parameters() if p.grad is not None)
            nested = name == "projector" and frozen == ["audio_tower"] and "tower" in type(model).parts["projector"]
            assert (gradient == 0) == (name in frozen or nested), (name, frozen)
        assert parts["audio_tower"].training == (frozen != ["audio_tower"])
    with pytest.raises(ValueError, match="no part 'vision'"):
        model.freeze(["vision"])


def test_modules_that_are_not_split_exist(loaded):
    model, _ = loaded
    names = {type(module).__name__ for module in model.modules()}
    wanted = {name for name in type(model)._no_split_modules if name != "LlamaDecoderLayer"}
    assert wanted <= names and len(type(model)._no_split_modules) == 2


@pytest.mark.parametrize("preset", ["paper", "language_model", "all"])
def test_lora_presets_reach_what_they_name_and_merge(case, folder, preset, tmp_path):
    from peft import LoraConfig, get_peft_model

    model, processor = load(folder)
    inputs = processor(audio=CLIPS[:3], transcript=WORDS[:3])
    with torch.no_grad():
        before = model(**inputs).logits
    targets = type(model).lora_targets[preset]
    torch.manual_seed(0)
    wrapped = get_peft_model(
        model, LoraConfig(r=2, target_modules=targets, modules_to_save=["head"], init_lora_weights=False)
    ).eval()
    adapted = {name.split(".lora_A")[0] for name, _ in wrapped.named_parameters() if ".lora_A." in name}
    reached = {
        part for part in model.backbone_parts() for name in adapted if f".{type(model).parts[part]}." in f"{name}."
    }
    assert "language_model" in reached
    assert not any(".head." in name for name in adapted)
    if preset == "language_model":
        assert reached == {"language_model"}
    if preset == "all":
        assert reached == {"audio_tower", "projector", "language_model"}
    with torch.no_grad():
        changed = wrapped(**inputs).logits
        assert (changed - before).abs().max() > 1e-3
        merged = wrapped.merge_and_unload()
        torch.testing.assert_close(merged(**inputs).logits, changed, atol=1e-4, rtol=1e-4)
    merged.save_pretrained(tmp_path)
    with torch.no_grad():
        again = EmotionDistributionModel.from_pretrained(tmp_path).eval()(**inputs).logits
    torch.testing.assert_close(again, changed, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_what_the_tower_gives_can_be_kept(loaded):
    model, processor = loaded
    inputs = processor(audio=CLIPS[:4], transcript=WORDS[:4])
    features = {name: inputs.pop(name) for name in ("input_features", "feature_attention_mask")}
    kept = model.encode(**features)
    assert kept.shape[0] == (inputs["input_ids"] == model.config.audio_token_id).sum()
    expected = model(**inputs, **features).logits
    torch.testing.assert_close(model(**inputs, audio_embeddings=kept).logits, expected, atol=1e-6, rtol=1e-6)
    # rows of a clip are the same whatever the batch it came in
    sizes = [processor.num_tokens(len(clip)) for clip in CLIPS[:4]]
    alone = [
        model.encode(**{k: torch.from_numpy(v) for k, v in processor.audio_features([c]).items()}) for c in CLIPS[:4]
    ]
    for part, one in zip(kept.split(sizes), alone, strict=True):
        torch.testing.assert_close(part, one, atol=2e-5, rtol=1e-5)
    # and their means are the features of the regression and of DiME-Aug
    rows = [{"id": str(i), "audio": {"array": clip, "sampling_rate": 16000}} for i, clip in enumerate(CLIPS[:4])]
    means = tower_features(model, processor, rows, 3, progress=False)
    one_by_one = np.stack([BackboneFeatures((model, processor)).features(row) for row in rows])
    np.testing.assert_allclose(one_by_one[1], alone[1].mean(0).numpy(), atol=1e-4)
    if model.family != "qwen2_audio":  # of which the regression takes the states before pairs of frames are averaged
        np.testing.assert_allclose(means, one_by_one, atol=1e-4)


@pytest.mark.parametrize("head", LANGUAGE_MODEL_HEADS)
def test_heads_ignore_padding_and_come_back(folder, head, tmp_path):
    model, processor = load(folder, head=head)
    assert type(model.head) is HEADS[head]
    inputs = processor(audio=CLIPS[:3], transcript=["a", "some more words", None])
    with torch.no_grad():
        batch = model(**inputs).logits
        single = [
            model(**processor(audio=[clip], transcript=[word])).logits
            for clip, word in zip(CLIPS[:3], ["a", "some more words", None], strict=True)
        ]
        torch.testing.assert_close(batch, torch.cat(single), atol=2e-5, rtol=1e-5)
        model.save_pretrained(tmp_path)
        again = EmotionDistributionModel.from_pretrained(tmp_path).eval()
        torch.testing.assert_close(again(**inputs).logits, batch, atol=1e-5, rtol=1e-5)
        assert again.config.head == head


def test_granite_s_own_adapter_is_merged_into_its_backbone(tmp_path):
    case = CASES["granite_speech"]
    stock = case.with_own_adapter(tmp_path)
    model, processor = load(tmp_path)
    inputs = processor(audio=[CLIPS[2]])
    with torch.no_grad():
        hidden = model(**inputs, output_hidden_states=True).hidden_states[-1]
        expected = stock.base_model.model.model(**case.stock_inputs(inputs)).last_hidden_state
        plain = case.stock().model(**case.stock_inputs(inputs)).last_hidden_state
    torch.testing.assert_close(hidden, expected, atol=2e-5, rtol=1e-4)
    assert (expected - plain).abs().max() > 1e-2
    # what is trained on it, in full or as an adapter, is not taken for it
    model.save_pretrained(tmp_path / "full")
    again = EmotionDistributionModel.from_pretrained(tmp_path / "full").eval()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
