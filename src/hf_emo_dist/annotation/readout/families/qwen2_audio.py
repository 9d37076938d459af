"""Qwen2-Audio: Whisper's encoder on the batch's longest clip, and a Qwen2 language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .family import Family

if TYPE_CHECKING:
    from torch import Tensor


class Qwen2AudioFamily(Family):
    """Qwen2-Audio, with the trimmed audio tower."""

    title = "Qwen2-Audio"
    example = "Qwen/Qwen2-Audio-7B-Instruct"
    tested = True
    longest_clip_s: ClassVar[float | None] = 30.0

    def prepare(self) -> None:
        """Trim the tower."""
        from ....audio.qwen2_audio_tower import use_trimmed_audio_tower

        use_trimmed_audio_tower(self.model)

    def audio_tokens(self, num_samples: int) -> int:
        """Return how many tokens a clip at 16 kHz has."""
        from ....audio.qwen2_audio_tower import num_audio_tokens, num_mel_frames

        return num_audio_tokens(num_mel_frames(num_samples))

    def inputs(self, clips: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return features on the longest clip, and their mask."""
        from ....audio.qwen2_audio_tower import audio_kwargs_for

        features = self.features(clips, padding="max_length", **audio_kwargs_for(clips, self.model))
        return {
            "input_features": features["input_features"],
            "feature_attention_mask": features["attention_mask"],
        }

    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the projected outputs of the tower."""
        from ....audio.qwen2_audio_tower import encode_audio

        model = self.model.model
        heard = encode_audio(model.audio_tower, inputs["input_features"], inputs["feature_attention_mask"])
        projected: Tensor = model.multi_modal_projector(heard)
        return projected
