"""`Qwen2AudioForEmotionDistribution`: the headless Qwen2-Audio model and a head that gives one logit an emotion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration, Qwen2AudioModel
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioPreTrainedModel

from ...audio.qwen2_audio_tower import TrimmedQwen2AudioEncoder, encode_audio
from ..configuration import Qwen2AudioEmotionConfig
from ..model import EmotionDistributionModel
from .audio_language import WHISPER_AND_LANGUAGE_MODEL, AudioLanguageForEmotionDistribution
from .qwen2_audio_processing import Qwen2AudioEmotionProcessor


class Qwen2AudioForEmotionDistribution(AudioLanguageForEmotionDistribution, Qwen2AudioPreTrainedModel):
    """Qwen2-Audio that answers with the distribution of emotions that listeners perceive (arXiv 2601.14620).

    `model` is the headless `Qwen2AudioModel`, `head` the paper's head; no language-modelling head is built or loaded.
    The audio tower runs on the batch's longest clip instead of on 30 s, with the stock outputs.

    Example:
        >>> config = Qwen2AudioEmotionConfig(
        ...     emotions=["angry", "sad"],
        ...     audio_config={"model_type": "qwen2_audio_encoder", "d_model": 16, "encoder_layers": 1,
        ...                   "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "num_mel_bins": 8},
        ...     text_config={"model_type": "qwen2", "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16,
        ...                  "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 8},
        ... )
        >>> Qwen2AudioForEmotionDistribution(config).config.emotions
        ('angry', 'sad')
    """

    config_class = Qwen2AudioEmotionConfig
    config: Qwen2AudioEmotionConfig
    family = "qwen2_audio"
    family_name = "Qwen2-Audio"
    family_example = "Qwen/Qwen2-Audio-7B-Instruct"
    backbone_class = Qwen2AudioModel
    stock_class = Qwen2AudioForConditionalGeneration
    processor_class = Qwen2AudioEmotionProcessor
    renamings = WHISPER_AND_LANGUAGE_MODEL
    _no_split_modules: ClassVar[list[str]] = ["Qwen2AudioEncoderLayer", "Qwen2DecoderLayer"]

    def build(self, config: Any) -> nn.Module:
        """Build the headless model around a tower that runs on the batch's longest clip."""
        model = Qwen2AudioModel(config)
        # Replacing the tower keeps parameter names; subclassing Qwen2AudioModel would lose its checkpoint renamings.
        model.audio_tower = TrimmedQwen2AudioEncoder(model.audio_tower.config)
        return model

    @classmethod
    def config_from_backbone(cls, backbone: Any, emotions: Sequence[str], changes: dict[str, Any]) -> Any:
        """Make the model's configuration, a subclass of its backbone's, for a new head."""
        return EmotionDistributionModel.config_from_backbone.__func__(cls, backbone, emotions, changes)  # type: ignore[attr-defined]

    def stock_config(self) -> Any:
        """Return the configuration of `stock_class`: this one's, without what is this library's."""
        own = Qwen2AudioEmotionConfig.own_fields() | {"model_type", "architectures", "id2label", "label2id"}
        return Qwen2AudioConfig(**{key: value for key, value in self.config.to_dict().items() if key not in own})

    def encode(self, input_features: Tensor, feature_attention_mask: Tensor) -> Tensor:
        """Return the audio tower's outputs, (audio tokens of all clips, d_model)."""
        return encode_audio(self.part("audio_tower"), input_features, feature_attention_mask)
