"""Qwen2.5-Omni's thinker: an audio tower on chunks of two seconds and a Qwen2.5 language model, without its eyes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import Qwen2_5OmniConfig, Qwen2_5OmniThinkerForConditionalGeneration
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import (
    Qwen2_5OmniPreTrainedModelForConditionalGeneration,
    Qwen2_5OmniThinkerModel,
)

from ..lora_targets import audio_language_targets
from .audio_language import AudioLanguageForEmotionDistribution
from .audio_language_processing import AudioLanguageProcessor


class Qwen2_5OmniEmotionProcessor(AudioLanguageProcessor):
    """Qwen2.5-Omni's `EmotionDistributionProcessor`; see `AudioLanguageProcessor`."""

    family = "qwen2_5_omni_thinker"
    audio_token = "<|AUDIO|>"
    before = "<|im_start|>user\n<|audio_bos|>"
    after = "<|audio_eos|>{question}<|im_end|>\n<|im_start|>assistant\n"
    prompt_tokens: ClassVar[tuple[str, ...]] = ("<|im_start|>", "<|im_end|>", "<|audio_bos|>", "<|audio_eos|>")


class Qwen2_5OmniForEmotionDistribution(
    AudioLanguageForEmotionDistribution, Qwen2_5OmniPreTrainedModelForConditionalGeneration
):
    """Qwen2.5-Omni's thinker that answers with the distribution of emotions that listeners perceive.

    Its vision tower, the talker and the vocoder are neither built nor loaded.
    """

    family = "qwen2_5_omni_thinker"
    other_types: ClassVar[tuple[str, ...]] = ("qwen2_5_omni",)
    family_name = "Qwen2.5-Omni"
    family_example = "Qwen/Qwen2.5-Omni-7B"
    backbone_class = Qwen2_5OmniThinkerModel
    stock_class = Qwen2_5OmniThinkerForConditionalGeneration
    processor_class = Qwen2_5OmniEmotionProcessor
    not_built = "vision tower"
    hub_prefix = "thinker."
    # what brings the audio to the language model's width is the tower's own last layer
    parts: ClassVar[dict[str, str]] = {
        "audio_tower": "audio_tower",
        "projector": "audio_tower.proj",
        "language_model": "language_model",
    }
    renamings: ClassVar[dict[str, str]] = {
        r"^thinker\.audio_tower\.": "model.audio_tower.",
        r"^thinker\.model\.": "model.language_model.",
        r"^audio_tower\.": "model.audio_tower.",
        r"^model\.(?!(?:language_model|visual|audio_tower)\.)": "model.language_model.",
    }
    lora_targets = audio_language_targets(projector=r"audio_tower", projector_layers=("proj",))
    _no_split_modules: ClassVar[list[str]] = ["Qwen2_5OmniAudioEncoderLayer", "Qwen2_5OmniDecoderLayer"]
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [
        r"^(thinker\.)?lm_head",
        r"^(thinker\.|model\.)?visual",
        r"^talker",
        r"^token2wav",
    ]

    def build(self, config: Any) -> nn.Module:
        """Build the headless model without its vision tower."""
        model = Qwen2_5OmniThinkerModel(config.backbone_config)
        model.visual = None
        return model

    @classmethod
    def config_from_backbone(cls, backbone: Any, emotions: Sequence[str], changes: dict[str, Any]) -> Any:
        """Make the model's configuration around the thinker's, also out of the whole model's."""
        thinker = getattr(backbone, "thinker_config", backbone)
        return super().config_from_backbone(thinker, emotions, changes)

    def hub_config(self, stock_config: Any) -> Any:
        """Return the whole model's configuration around the thinker's."""
        return Qwen2_5OmniConfig(thinker_config=stock_config.to_dict(), enable_audio_output=False)

    def hub_architecture(self) -> str:
        """Return the whole model's class, of which others serve the thinker."""
        return "Qwen2_5OmniForConditionalGeneration"

    def encode(self, input_features: Tensor, feature_attention_mask: Tensor) -> Tensor:
        """Return the tower's outputs, (audio tokens of all clips, d)."""
        # chunk by chunk on the frames of the clips alone: padding is never seen
        lengths = feature_attention_mask.sum(-1)
        frames = input_features.permute(0, 2, 1)[feature_attention_mask.bool()].T
        tower = self.part("audio_tower")
        convolved, _ = tower._get_feat_extract_output_lengths(lengths)
        encoded: Tensor = tower(frames, feature_lens=lengths, aftercnn_lens=convolved).last_hidden_state
        return encoded

    def project(self, audio_embeddings: Tensor) -> Tensor:
        """Return them as they are."""
        return audio_embeddings
