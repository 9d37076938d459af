import copy

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.qwen2_audio.configuration_qwen2_audio import Qwen2AudioEncoderConfig
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

from hf_emo_dist.audio.qwen2_audio_tower import (
    TrimmedQwen2AudioEncoder,
    num_audio_tokens,
    num_mel_frames,
    padded_mel_frames,
)

MELS = 8
# one clip or one batch a line, seconds: shortest that gives a token, odd and even frames, one-token clips alone, the
# longest
LENGTHS = {
    "0.05 s": [0.05],
    "odd frames": [0.4131],
    "even frames": [0.42],
    "one sample over": [1.0 + 1 / 16000],
    "one token each": [0.021, 0.03, 0.04],
    "mixed": [0.025, 1.37, 0.5, 2.0],
    "near 30 s": [29.97],
    "30 s": [30.0],
}


@pytest.fixture(scope="module")
def towers():
    config = Qwen2AudioEncoderConfig(
        num_mel_bins=MELS, d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=16
    )
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    stock = Qwen2AudioEncoder(config).double().eval()
    for parameter in stock.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours = TrimmedQwen2AudioEncoder(config).double().eval()
    ours.load_state_dict(stock.state_dict())
    return stock, ours


@pytest.fixture(scope="module")
def extractor():
    return WhisperFeatureExtractor(feature_size=MELS)


def waves(seconds):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(round(s * 16000)).astype(np.float32) * 0.1 for s in seconds]


def stock_outputs(tower, features, mask):
    conv, tokens = tower._get_feat_extract_output_lengths(mask.sum(-1))
    valid = torch.arange(1500)[None] < conv[:, None]
    attention = create_bidirectional_mask(
        config=tower.config,
        inputs_embeds=torch.zeros(*valid.shape, 1, dtype=torch.float64),
        attention_mask=valid.long(),
    )
    hidden = tower(features, attention_mask=attention).last_hidden_state
    return torch.cat([row[:n] for row, n in zip(hidden, tokens.tolist(), strict=True)])


def features_of(extractor, clips, frames):
    out = extractor(
        clips,
        sampling_rate=16000,
        padding="max_length",
        max_length=frames * 160,
        return_attention_mask=True,
        return_tensors="pt",
    )
    return out["input_features"], out["attention_mask"]


@pytest.mark.parametrize("seconds", LENGTHS.values(), ids=LENGTHS.keys())
def test_trimmed_tower_gives_the_stock_outputs_and_gradients(towers, extractor, seconds):
    stock, ours = (copy.deepcopy(tower) for tower in towers)
    clips = waves(seconds)
    frames = padded_mel_frames(max(num_mel_frames(len(clip)) for clip in clips))
    short, short_mask = features_of(extractor, clips, frames)
    long, long_mask = features_of(extractor, clips, 3000)
    assert short.shape[-1] == frames
    # the features themselves agree on valid frames
    for row in range(len(clips)):
        n = int(short_mask[row].sum())
        assert n == num_mel_frames(len(clips[row])) == int(long_mask[row].sum())
        # to float32's last bits, which depend on how a processor sums frames of other lengths
        torch.testing.assert_close(short[row, :, :n], long[row, :, :n], atol=1e-6, rtol=0)

    expected = stock_outputs(stock, long.double(), long_mask)
    found = ours.encode(short.double(), short_mask)
    assert len(found) == sum(num_audio_tokens(num_mel_frames(len(clip))) for clip in clips)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)  # a margin of one frame fails by 0.3

    weight = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (expected * weight).sum().backward()
    (found * weight).sum().backward()
    for (name, a), b in zip(ours.named_parameters(), stock.parameters(), strict=True):
        if a.requires_grad:
            torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("frames", [101, 3002])
def test_a_length_that_the_tower_cannot_take_is_refused(towers, frames):
    with pytest.raises(ValueError, match=f"{frames} frames.*EmotionDistributionProcessor"):
        towers[1](torch.zeros(1, MELS, frames))


def test_token_counts_are_those_of_the_stock_tower(towers):
    frames = torch.arange(3, 3001)
    stock = towers[0]._get_feat_extract_output_lengths(frames)[1]
    assert [num_audio_tokens(int(n)) for n in frames] == stock.tolist()
    assert num_audio_tokens(num_mel_frames(320)) == 0 and num_audio_tokens(num_mel_frames(321)) == 1


def test_half_precision_weights_take_float32_features(towers):
    tower = copy.deepcopy(towers[1]).to(torch.bfloat16)
    hidden = tower.encode(torch.randn(1, MELS, 40), torch.ones(1, 40, dtype=torch.long))
    assert hidden.dtype == torch.bfloat16 and torch.isfinite(hidden).all()
