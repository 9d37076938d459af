"""Voxtral: Whisper's encoder, four of its frames a token, and a Llama or Ministral language model."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from transformers import VoxtralForConditionalGeneration, VoxtralModel
from transformers.models.voxtral.modeling_voxtral import VoxtralPreTrainedModel

from ...audio.qwen2_audio_tower import HOP_LENGTH
from ..lora_targets import audio_language_targets
from .audio_language import WHISPER_AND_LANGUAGE_MODEL, AudioLanguageForEmotionDistribution
from .audio_language_processing import AudioLanguageProcessor

FRAMES_A_TOKEN = 8


class VoxtralEmotionProcessor(AudioLanguageProcessor):
    """Voxtral's `EmotionDistributionProcessor`; see `AudioLanguageProcessor`.

    The encoder has no mask: it was trained on clips in 30 s of silence, and hears it. So every clip is padded to 30 s
    and has 375 placeholders. The Hub's tokenizer needs `mistral-common`.
    """

    family = "voxtral"
    audio_token = "[AUDIO]"
    before = "<s>[INST][BEGIN_AUDIO]"
    after = "{question}[/INST]"
    prompt_tokens: ClassVar[tuple[str, ...]] = ("<s>", "[INST]", "[BEGIN_AUDIO]", "[/INST]")

    def num_tokens(self, num_samples: int) -> int:
        """Return the audio placeholders of a clip, the same for all."""
        return int(self.feature_extractor.nb_max_frames) // FRAMES_A_TOKEN

    def padded_samples(self, num_samples: int) -> int:
        """Return the samples of 30 s."""
        return int(self.feature_extractor.nb_max_frames) * HOP_LENGTH


class VoxtralForEmotionDistribution(AudioLanguageForEmotionDistribution, VoxtralPreTrainedModel):
    """Voxtral that answers with the distribution of emotions that listeners perceive."""

    family = "voxtral"
    family_name = "Voxtral"
    family_example = "mistralai/Voxtral-Mini-3B-2507"
    backbone_class = VoxtralModel
    stock_class = VoxtralForConditionalGeneration
    processor_class = VoxtralEmotionProcessor
    renamings = WHISPER_AND_LANGUAGE_MODEL
    lora_targets = audio_language_targets(projector_layers=("linear_1", "linear_2"))
    _no_split_modules: ClassVar[list[str]] = ["VoxtralEncoderLayer", "LlamaDecoderLayer"]
    _keep_in_fp32_modules_strict: ClassVar[list[str]] = ["head", "embed_positions"]

    def rows_of(self, frames: int) -> int:
        """Return the audio tokens of 30 s: the encoder's states of all of it, four at a time."""
        config = self.part("audio_tower").config
        return int(config.max_source_positions * config.hidden_size // config.intermediate_size)

    def encode(self, input_features: Tensor, feature_attention_mask: Tensor) -> Tensor:
        """Return the tower's outputs, (audio tokens of all clips, 4 frames' d_model)."""
        tower = self.part("audio_tower")
        hidden: Any = tower(input_features).last_hidden_state
        stacked: Tensor = hidden.reshape(-1, tower.config.intermediate_size)
        return stacked
