"""The audio tower on the clip against the stock tower on 30 s: same weights, same clips, one run.

Baseline: transformers' Qwen2AudioEncoder on 3,000 mel frames. The floor is the arithmetic: the multiply-adds of the
frames that are computed, at the rate of a large matrix product on this machine.
"""

import argparse

import torch
from common import measured_rate, medians, speech, tower_macs, tower_weights, verdict
from transformers import Qwen2AudioEncoderConfig, WhisperFeatureExtractor
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

from hf_emo_dist.audio.qwen2_audio_tower import (
    TrimmedQwen2AudioEncoder,
    audio_kwargs_for,
    encode_audio_padded,
    num_mel_frames,
    padded_mel_frames,
)


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    settings, weights, what = tower_weights()
    config = Qwen2AudioEncoderConfig(**settings)
    config._attn_implementation = "sdpa"
    stock = Qwen2AudioEncoder(config).eval()
    if weights is not None:
        stock.load_state_dict({name: weights[name] for name in stock.state_dict()})
    trimmed = TrimmedQwen2AudioEncoder(config).eval()
    trimmed.load_state_dict(stock.state_dict())
    clips, kind = speech(args.batch)
    extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    options = {"sampling_rate": 16000, "return_attention_mask": True, "return_tensors": "pt"}
    long, short = extractor(clips, **options), extractor(clips, **options, **audio_kwargs_for(clips))
    rate = measured_rate()
    print(f"{what}, {torch.get_num_threads()} thread(s), {rate * 2e-9:.0f} GFLOP/s in a matrix product")

    def stock_tower() -> tuple[torch.Tensor, torch.Tensor]:
        mask = long["attention_mask"]
        lengths, tokens = stock._get_feat_extract_output_lengths(mask.sum(-1))
        # what Qwen2AudioModel.forward makes: padding is kept out of the attention
        valid = (torch.arange(1500)[None] < lengths[:, None])[:, None, None, :].expand(-1, 1, 1500, 1500)
        return stock(long["input_features"], attention_mask=valid).last_hidden_state, tokens

    with torch.inference_mode():
        expected, tokens = stock_tower()
        found, _ = encode_audio_padded(trimmed, short["input_features"], short["attention_mask"])
        pairs = [(found[i, :n], expected[i, :n]) for i, n in enumerate(tokens.tolist())]
        error = sum((a - b).square().sum() for a, b in pairs) / sum(b.square().sum() for _, b in pairs)
        took = medians(
            {
                "stock": stock_tower,
                "trimmed": lambda: encode_audio_padded(trimmed, short["input_features"], short["attention_mask"]),
            },
            args.repeats,
        )
        print(f"{args.batch} {kind}: stock {took['stock']:.3f} s, trimmed {took['trimmed']:.3f} s")
        print(
            f"  {verdict(took['stock'] / took['trimmed'], 6)}, outputs within {float(error) ** 0.5:.1e} (relative L2)"
        )
        frames = short["input_features"].shape[-1]
        floor = args.batch * tower_macs(config, frames) / rate
        print(f"  floor {floor:.3f} s; trimmed takes {took['trimmed'] / floor:.1f} x the floor")
        for duration in (2, 4, 6, 11, 30):
            frames = padded_mel_frames(num_mel_frames(duration * 16000))
            features = torch.randn(args.batch, config.num_mel_bins, frames)
            mask = torch.ones(args.batch, frames)
            took = medians(
                {
                    "stock": stock_tower,
                    "trimmed": lambda features=features, mask=mask: encode_audio_padded(trimmed, features, mask),
                },
                max(2, args.repeats // 2),
            )
            floor = args.batch * tower_macs(config, frames) / rate
            arithmetic = tower_macs(config, 3000) / tower_macs(config, frames)
            print(
                f"{duration:>3} s: {took['stock'] / took['trimmed']:5.1f} x faster (arithmetic alone {arithmetic:5.1f} "
                f"x), {took['trimmed'] / floor:.1f} x the floor"
            )


if __name__ == "__main__":
    main()
