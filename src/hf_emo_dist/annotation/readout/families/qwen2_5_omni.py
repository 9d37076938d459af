"""Qwen2.5-Omni's thinker: an audio tower on chunks of two seconds and a Qwen2.5 language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .family import Family

if TYPE_CHECKING:
    from torch import Tensor


class Qwen2_5OmniFamily(Family):
    """Qwen2.5-Omni's thinker; the talker and the vocoder are not loaded."""

    title = "Qwen2.5-Omni"
    example = "Qwen/Qwen2.5-Omni-7B"
    model_class: ClassVar[str | None] = "Qwen2_5OmniThinkerForConditionalGeneration"
    tested = True
    untested = "its own processor, which needs torchvision"
    longest_clip_s: ClassVar[float | None] = 300.0

    @classmethod
    def why_deaf(cls, config: Any) -> str | None:
        """Say why a model of this configuration hears nothing, or None where it does."""
        return super().why_deaf(getattr(config, "thinker_config", config))

    def audio_tokens(self, num_samples: int) -> int:
        """Return how many tokens a clip at 16 kHz has."""
        from ....audio.qwen2_audio_tower import num_audio_tokens, num_mel_frames

        return num_audio_tokens(num_mel_frames(num_samples))

    def inputs(self, clips: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return features on the longest clip, and their mask."""
        from ....audio.qwen2_audio_tower import padded_samples

        longest = max(map(len, clips))
        features = self.features(
            clips, padding="max_length", max_length=padded_samples(longest, -(-longest // 160) + 3)
        )
        return {
            "input_features": features["input_features"],
            "feature_attention_mask": features["attention_mask"],
        }

    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the outputs of the tower, whose last layer is the projector."""
        # chunk by chunk on the frames of the clips alone: padding is never seen
        mask = inputs["feature_attention_mask"]
        lengths = mask.sum(-1)
        frames = inputs["input_features"].permute(0, 2, 1)[mask.bool()].T
        tower = self.model.model.audio_tower
        convolved, _ = tower._get_feat_extract_output_lengths(lengths)
        heard: Tensor = tower(frames, feature_lens=lengths, aftercnn_lens=convolved).last_hidden_state
        return heard
