import hashlib

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor, WhisperConfig, WhisperModel

from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.mini import SPECIAL_TOKENS, build_mini_backbone, byte_level_tokenizer
from hf_emo_dist.modeling.model import EmotionDistributionModel
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor

TINY = {"hidden_size": 16, "audio_layers": 1, "text_layers": 1, "num_mel_bins": 16}


def digest(folder):
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_the_same_seed_gives_the_same_backbone_and_leaves_the_global_generator_alone(tmp_path):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    folders = [build_mini_backbone(tmp_path / str(i), seed=seed, **TINY) for i, seed in enumerate((0, 0, 1))]
    assert torch.equal(torch.rand(1), expected)
    assert digest(folders[0]) == digest(folders[1]) != digest(folders[2])


def test_transformers_own_classes_open_it(tiny_backbone):
    model = Qwen2AudioForConditionalGeneration.from_pretrained(tiny_backbone)
    processor = Qwen2AudioProcessor.from_pretrained(tiny_backbone)
    assert processor.audio_token_id == model.config.audio_token_id
    assert processor.feature_extractor.feature_size == model.config.audio_config.num_mel_bins == 16


def test_every_text_survives_the_tokenizer():
    tokenizer = byte_level_tokenizer()
    for text in ("Well, I never!", "Grüße, 東京 \U0001f600", "a  b\n\tc", "<|im_start|>user\n<|audio_bos|><|AUDIO|>"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert all(len(tokenizer(token)["input_ids"]) == 1 for token in SPECIAL_TOKENS)


@pytest.fixture
def whisper():
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=16,
        encoder_layers=3,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=8,
        num_mel_bins=16,
        vocab_size=8,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=0,
    )
    return WhisperModel(config)


@pytest.mark.parametrize("form", ["whole model", "encoder alone"])
def test_the_tower_can_come_from_a_whisper_folder(tmp_path, whisper, tiny_emotions, form):
    source = tmp_path / "whisper"
    if form == "whole model":
        whisper.save_pretrained(source)
    else:
        source.mkdir()
        (source / "encoder_config.json").write_text(whisper.config.to_json_string(use_diff=False))
        weights = {key: value.contiguous() for key, value in whisper.encoder.state_dict().items()}
        save_file(weights, source / "encoder.safetensors")
    folder = build_mini_backbone(tmp_path / "mini", source, audio_layers=2, text_layers=1, calibrate=False)
    model = Qwen2AudioForEmotionDistribution.from_pretrained(folder, emotions=tiny_emotions, head_num_attention_heads=2)
    tower = model.model.audio_tower.state_dict()
    assert len(model.model.audio_tower.layers) == 2
    for key, value in whisper.encoder.state_dict().items():
        if key.startswith(("conv", "embed", "layers.0", "layers.1")):
            assert torch.equal(tower[key], value), key


def test_with_whisper_the_projector_standardises_what_the_tower_hears(tmp_path, whisper, tiny_emotions):
    from hf_emo_dist import simulate_corpus

    whisper.save_pretrained(tmp_path / "whisper")
    folder = build_mini_backbone(tmp_path / "mini", tmp_path / "whisper", text_layers=1)
    model, processor = (
        kind.from_pretrained(folder, emotions=tiny_emotions, **settings)
        for kind, settings in (
            (Qwen2AudioForEmotionDistribution, {"head_num_attention_heads": 2}),
            (EmotionDistributionProcessor, {}),
        )
    )
    rows = simulate_corpus(num_utterances=40, num_speakers=12, seed=1)["train"].select(range(20))
    inputs = processor.from_rows(rows)
    with torch.no_grad():
        heard = model.eval().model.audio_tower.encode(inputs["input_features"], inputs["feature_attention_mask"])
        handed_on = model.model.multi_modal_projector(heard)
    assert heard.mean(0).abs().max() > 0.1 and heard.std(0).min() < 0.7
    assert handed_on.mean(0).abs().max() < 0.1
    torch.testing.assert_close(handed_on.std(0), torch.ones(16), atol=0.15, rtol=0)


@pytest.mark.parametrize("source", [None, "whisper"])
def test_an_encoder_alone(tmp_path, whisper, tiny_emotions, source):
    from tiny_data import tone

    if source is not None:
        whisper.save_pretrained(tmp_path / source)
        source = tmp_path / source
    folder = build_mini_backbone(tmp_path / "mini", source, hidden_size=16, encoder_only=True)
    model = EmotionDistributionModel.from_pretrained(folder, emotions=tiny_emotions).eval()
    assert model.family == "whisper" and sum(file.suffix == ".safetensors" for file in folder.iterdir()) == 1
    if source is not None:
        for key, value in whisper.encoder.state_dict().items():
            assert torch.equal(model.encoder.state_dict()[key], value), key
    processor = EmotionDistributionProcessor.from_pretrained(folder, emotions=tiny_emotions)
    logits = [model(**processor(audio=[tone(hertz, 0.4)])).logits for hertz in (150, 900)]
    assert (logits[0] - logits[1]).abs().max() > 1e-6


def test_what_cannot_be_built_is_refused(tmp_path, whisper):
    with pytest.raises(ValueError, match="multiple of 8"):
        build_mini_backbone(tmp_path / "a", hidden_size=20)
    with pytest.raises(ValueError, match="leave out text_layers or encoder_only"):
        build_mini_backbone(tmp_path / "a", text_layers=1, encoder_only=True)
    with pytest.raises(OSError, match=r"No Whisper model could be loaded from '\./nothing'"):
        build_mini_backbone(tmp_path / "b", "./nothing")
    whisper.save_pretrained(tmp_path / "whisper")
    (tmp_path / "whisper" / "config.json").rename(tmp_path / "whisper" / "encoder_config.json")
    weights = load_file(tmp_path / "whisper" / "model.safetensors")
    weights.pop(next(key for key in weights if key.endswith("conv1.weight")))
    save_file(weights, tmp_path / "whisper" / "model.safetensors")
    with pytest.raises(ValueError, match="lack"):
        build_mini_backbone(tmp_path / "c", tmp_path / "whisper")
    assert not (tmp_path / "c").exists()


def test_the_audio_reaches_the_head_before_any_training(tiny_backbone, tiny_model, tiny_processor):
    from tiny_data import tone

    with torch.no_grad():
        logits = tiny_model(**tiny_processor(audio=[tone(120, 0.4), tone(1500, 0.4)], transcript=["a", "a"])).logits
    assert (logits[0] - logits[1]).abs().max() > 1e-6
