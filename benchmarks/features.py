"""Feature extraction on the batch's longest clip against 30 s: same clips, one run.

Baseline: transformers' WhisperFeatureExtractor as Qwen2AudioProcessor calls it, 3,000 frames a clip. The floor is the
number of frames.
"""

import argparse

import torch
from common import medians, speech, verdict
from transformers import WhisperFeatureExtractor

from hf_emo_dist.audio.qwen2_audio_tower import audio_kwargs_for


def main() -> None:
    """Prints the ratio, and whether the valid frames are identical."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    clips, kind = speech(args.batch)
    extractor = WhisperFeatureExtractor(feature_size=128)
    options = {"sampling_rate": 16000, "return_attention_mask": True, "return_tensors": "pt"}
    padding = audio_kwargs_for(clips)
    long, short = extractor(clips, **options), extractor(clips, **options, **padding)
    valid = short["attention_mask"].bool()
    frames = valid.shape[1]
    same = torch.equal(
        long["input_features"][:, :, :frames].transpose(1, 2)[valid], short["input_features"].transpose(1, 2)[valid]
    ) and torch.equal(long["attention_mask"].sum(-1), short["attention_mask"].sum(-1))
    took = medians(
        {"30 s": lambda: extractor(clips, **options), "clip": lambda: extractor(clips, **options, **padding)},
        args.repeats,
    )
    one = medians(
        {
            "30 s": lambda: [extractor(clip, **options) for clip in clips],
            "clip": lambda: [extractor(clip, **options, **audio_kwargs_for([clip])) for clip in clips],
        },
        args.repeats,
    )
    print(f"{args.batch} {kind}, 128 mel bins, {torch.get_num_threads()} thread(s)")
    print(f"  a batch: {took['30 s']:.3f} s on 30 s, {took['clip']:.3f} s on the longest clip: ", end="")
    print(verdict(took["30 s"] / took["clip"], 5))
    print(f"  clip by clip: {one['30 s']:.3f} s on 30 s, {one['clip']:.3f} s: {verdict(one['30 s'] / one['clip'], 5)}")
    print(f"  frames computed: {3000 / frames:.1f} x fewer; valid frames {'identical' if same else 'DIFFER'}")
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
