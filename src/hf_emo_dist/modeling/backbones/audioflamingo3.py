"""Audio Flamingo 3: Whisper's encoder, averaged over pairs of frames, and a Qwen2 language model."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import AudioFlamingo3ForConditionalGeneration
from transformers.models.audioflamingo3.modeling_audioflamingo3 import (
    AudioFlamingo3Model,
    AudioFlamingo3PreTrainedModel,
)

from ...audio.audioflamingo3_tower import TrimmedAudioFlamingo3Encoder
from ...audio.qwen2_audio_tower import encode_audio
from ..lora_targets import audio_language_targets
from .audio_language import WHISPER_AND_LANGUAGE_MODEL, AudioLanguageForEmotionDistribution
from .audio_language_processing import AudioLanguageProcessor


class AudioFlamingo3EmotionProcessor(AudioLanguageProcessor):
    """Audio Flamingo 3's `EmotionDistributionProcessor`; see `AudioLanguageProcessor`."""

    family = "audioflamingo3"
    audio_token = "<sound>"
    before = "<|im_start|>user\n"
    after = "\n{question}<|im_end|>\n<|im_start|>assistant\n"
    prompt_tokens: ClassVar[tuple[str, ...]] = ("<|im_start|>", "<|im_end|>")


class AudioFlamingo3ForEmotionDistribution(AudioLanguageForEmotionDistribution, AudioFlamingo3PreTrainedModel):
    """Audio Flamingo 3 that answers with the distribution of emotions that listeners perceive."""

    family = "audioflamingo3"
    family_name = "Audio Flamingo 3"
    family_example = "nvidia/audio-flamingo-3-hf"
    backbone_class = AudioFlamingo3Model
    stock_class = AudioFlamingo3ForConditionalGeneration
    processor_class = AudioFlamingo3EmotionProcessor
    renamings = WHISPER_AND_LANGUAGE_MODEL
    lora_targets = audio_language_targets(projector_layers=("linear_1", "linear_2"))
    _no_split_modules: ClassVar[list[str]] = ["AudioFlamingo3EncoderLayer", "Qwen2DecoderLayer"]

    def build(self, config: Any) -> nn.Module:
        """Build the headless model around a tower that runs on the batch's longest clip."""
        model = AudioFlamingo3Model(config.backbone_config)
        model.audio_tower = TrimmedAudioFlamingo3Encoder(model.audio_tower.config)
        return model

    def encode(self, input_features: Tensor, feature_attention_mask: Tensor) -> Tensor:
        """Return the tower's outputs, (audio tokens of all clips, d_model)."""
        return encode_audio(self.part("audio_tower"), input_features, feature_attention_mask)
