"""Audio Flamingo 3: Whisper's encoder on windows of 30 s and what is left, and a Qwen2 language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ....audio.decoding import SAMPLING_RATE
from .family import Family

if TYPE_CHECKING:
    from torch import Tensor

_WINDOW = 30 * SAMPLING_RATE


class AudioFlamingo3Family(Family):
    """Audio Flamingo 3, with the trimmed audio tower."""

    title = "Audio Flamingo 3"
    example = "nvidia/audio-flamingo-3-hf"
    tested = True
    longest_clip_s: ClassVar[float | None] = 600.0

    def prepare(self) -> None:
        """Trim the tower."""
        from transformers.models.audioflamingo3.modeling_audioflamingo3 import AudioFlamingo3Encoder

        from ....audio.audioflamingo3_tower import TrimmedAudioFlamingo3Encoder
        from ....audio.qwen2_audio_tower import MASKING_ATTENTION

        tower = self.model.model.audio_tower
        if type(tower) is AudioFlamingo3Encoder and tower.config._attn_implementation in MASKING_ATTENTION:
            tower.__class__ = TrimmedAudioFlamingo3Encoder

    def audio_tokens(self, num_samples: int) -> int:
        """Return how many tokens a clip at 16 kHz has."""
        from ....audio.qwen2_audio_tower import num_audio_tokens, num_mel_frames

        # of whole windows, 30 s each, no frame is lost
        return num_audio_tokens(num_mel_frames(num_samples))

    def inputs(self, clips: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return features of all windows of all clips on the longest window, and their mask."""
        from ....audio.qwen2_audio_tower import padded_samples

        windows = [clip[start : start + _WINDOW] for clip in clips for start in range(0, len(clip), _WINDOW)]
        longest = padded_samples(max(map(len, windows)))
        features = self.features(windows, padding="max_length", max_length=longest)
        return {"input_features": features["input_features"], "input_features_mask": features["attention_mask"]}

    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the projected outputs of the tower."""
        from ....audio.qwen2_audio_tower import encode_audio

        model = self.model.model
        heard = encode_audio(model.audio_tower, inputs["input_features"], inputs["input_features_mask"])
        projected: Tensor = model.multi_modal_projector(heard)
        return projected
